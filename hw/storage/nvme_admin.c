/*
 * NVMe admin commands (NVM Express 1.4, section 5): queues, identification, logs, features, events.
 *
 * Not modelled: firmware download, formatting, namespace management, security, self-tests; their
 * opcodes are refused and OACS says so.
 */
#include "hw/storage/nvme_internal.h"

#include <string.h>

enum {
    ADMIN_DELETE_SQ = 0x00,
    ADMIN_CREATE_SQ = 0x01,
    ADMIN_GET_LOG = 0x02,
    ADMIN_DELETE_CQ = 0x04,
    ADMIN_CREATE_CQ = 0x05,
    ADMIN_IDENTIFY = 0x06,
    ADMIN_ABORT = 0x08,
    ADMIN_SET_FEATURES = 0x09,
    ADMIN_GET_FEATURES = 0x0a,
    ADMIN_EVENT_REQUEST = 0x0c,
};

#define IDENTIFY_SIZE       4096
#define TEMPERATURE_KELVIN  298 /* a room's: there is nothing to warm up */
#define TEMPERATURE_WARNING 343

static void put(uint8_t *to, uint64_t value, unsigned size)
{
    for (unsigned i = 0; i < size; i++)
        to[i] = (uint8_t)(value >> (8 * i));
}

static void put_text(uint8_t *to, size_t size, const char *text)
{
    size_t length = strlen(text);
    memset(to, ' ', size);
    memcpy(to, text, length < size ? length : size);
}

static uint16_t refuse(enum nvme_status status)
{
    return (uint16_t)(status | NVME_DO_NOT_RETRY);
}

/* -- Queues (5.3 to 5.6) -- */

static uint16_t create_cq(struct nvme *nvme, const struct nvme_command *command, uint32_t *result)
{
    uint32_t id = command->dword10 & 0xffff, entries = (command->dword10 >> 16) + 1;
    uint32_t vector = command->dword11 >> 16;
    if (id == 0 || id >= NVME_QUEUES || nvme->cq[id].created)
        return refuse(NVME_INVALID_QID);
    if (entries < 2 || entries > NVME_QUEUE_ENTRIES)
        return refuse(NVME_INVALID_QUEUE_SIZE);
    if (vector >= NVME_QUEUES)
        return refuse(NVME_INVALID_VECTOR);
    if (!(command->dword11 & 1) || (nvme->cc >> 20 & 15) != 4)
        return refuse(NVME_INVALID_FIELD);
    if (command->prp1 % NVME_PAGE)
        return refuse(NVME_PRP_OFFSET);
    nvme->cq[id] = (struct nvme_cq){
        .created = true,
        .interrupts = command->dword11 & 2,
        .base = command->prp1,
        .entries = (uint16_t)entries,
        .vector = (uint16_t)vector,
        .phase = true,
    };
    return NVME_SUCCESS;
}

static uint16_t create_sq(struct nvme *nvme, const struct nvme_command *command, uint32_t *result)
{
    uint32_t id = command->dword10 & 0xffff, entries = (command->dword10 >> 16) + 1;
    uint32_t cq = command->dword11 >> 16;
    if (id == 0 || id >= NVME_QUEUES || nvme->sq[id].created)
        return refuse(NVME_INVALID_QID);
    if (cq == 0 || cq >= NVME_QUEUES || !nvme->cq[cq].created)
        return refuse(NVME_INVALID_CQ);
    if (entries < 2 || entries > NVME_QUEUE_ENTRIES)
        return refuse(NVME_INVALID_QUEUE_SIZE);
    if (!(command->dword11 & 1) || (nvme->cc >> 16 & 15) != 6)
        return refuse(NVME_INVALID_FIELD);
    if (command->prp1 % NVME_PAGE)
        return refuse(NVME_PRP_OFFSET);
    nvme->sq[id] = (struct nvme_sq){
        .created = true,
        .base = command->prp1,
        .entries = (uint16_t)entries,
        .cq = (uint16_t)cq,
    };
    return NVME_SUCCESS;
}

/* Its commands end first, as if they had been just in time. */
static uint16_t delete_sq(struct nvme *nvme, const struct nvme_command *command, uint32_t *result)
{
    uint32_t id = command->dword10 & 0xffff;
    if (id == 0 || id >= NVME_QUEUES || !nvme->sq[id].created)
        return refuse(NVME_INVALID_QID);
    nvme_quiesce(nvme);
    nvme->sq[id].created = false;
    return NVME_SUCCESS;
}

static uint16_t delete_cq(struct nvme *nvme, const struct nvme_command *command, uint32_t *result)
{
    uint32_t id = command->dword10 & 0xffff;
    if (id == 0 || id >= NVME_QUEUES || !nvme->cq[id].created)
        return refuse(NVME_INVALID_QID);
    for (unsigned i = 1; i < NVME_QUEUES; i++)
        if (nvme->sq[i].created && nvme->sq[i].cq == id)
            return refuse(NVME_INVALID_QUEUE_DELETION);
    nvme->cq[id] = (struct nvme_cq){0};
    return NVME_SUCCESS;
}

/* -- Identify (5.15) -- */

static void identify_namespace(const struct nvme *nvme, uint8_t *data)
{
    uint64_t blocks = image_bytes(nvme->image) / SECTOR_SIZE;
    put(data + 0, blocks, 8);                /* NSZE */
    put(data + 8, blocks, 8);                /* NCAP */
    put(data + 16, blocks, 8);               /* NUSE */
    data[26] = 0;                            /* LBA format 0 */
    data[99] = image_read_only(nvme->image); /* NSATTR: write protected */
    data[128 + 2] = 9;                       /* LBAF0: 512 bytes, no metadata */
}

static void identify_controller(const struct nvme *nvme, uint8_t *data)
{
    put(data + 0, 0x1b36, 2);
    put(data + 2, PCI_SUBSYSTEM_VENDOR_VIRTUAL, 2);
    put_text(data + 4, 20, nvme->serial);
    put_text(data + 24, 40, "DOPPEL NVME DISK");
    put_text(data + 64, 8, "1.0");
    data[72] = 6; /* RAB */
    data[77] = NVME_MDTS;
    put(data + 80, 0x00010400, 4); /* VER */
    data[258] = 3;                 /* ACL: four aborts at a time */
    data[259] = NVME_EVENTS - 1;   /* AERL */
    data[260] = 0x03;              /* FRMW: one slot, read-only */
    data[261] = 0x02;              /* LPA: effects log */
    put(data + 266, TEMPERATURE_WARNING, 2);
    put(data + 268, TEMPERATURE_WARNING, 2);
    data[512] = 0x66; /* SQES: 64 bytes */
    data[513] = 0x44; /* CQES: 16 bytes */
    put(data + 516, 1, 4);
    put(data + 520, 0x0009, 2); /* ONCS: compare, write zeroes */
    data[525] = 0x07;           /* VWC: present, flush takes all namespaces */
    snprintf((char *)data + 768, 256, "nqn.2014-08.org.nvmexpress:uuid:doppel-%s", nvme->serial);
    put(data + 2048, 2500, 2); /* power state 0: 25 W */
}

/* Namespace identification descriptors (CNS 03h): an NGUID made of the serial number. */
static void identify_descriptors(const struct nvme *nvme, uint8_t *data)
{
    data[0] = 2;  /* NGUID */
    data[1] = 16; /* its length */
    memcpy(data + 4, nvme->serial, 16);
}

static uint16_t identify(struct nvme *nvme, const struct nvme_command *command, uint32_t *result)
{
    enum { NAMESPACE = 0, CONTROLLER = 1, ACTIVE_NAMESPACES = 2, DESCRIPTORS = 3 };
    uint8_t data[IDENTIFY_SIZE] = {0};
    uint8_t what = (uint8_t)command->dword10;
    bool exists = command->nsid == 1;
    switch (what) {
    case NAMESPACE:
        if (!exists && command->nsid != UINT32_MAX)
            return refuse(NVME_INVALID_NAMESPACE);
        identify_namespace(nvme, data);
        break;
    case CONTROLLER:
        identify_controller(nvme, data);
        break;
    case ACTIVE_NAMESPACES: /* those above the given number */
        if (command->nsid >= 0xfffffffe)
            return refuse(NVME_INVALID_NAMESPACE);
        if (command->nsid < 1)
            put(data, 1, 4);
        break;
    case DESCRIPTORS:
        if (!exists)
            return refuse(NVME_INVALID_NAMESPACE);
        identify_descriptors(nvme, data);
        break;
    default:
        return refuse(NVME_INVALID_FIELD);
    }
    return nvme_transfer(nvme, command, data, sizeof data, true);
}

/* -- Logs (5.14) -- */

enum { LOG_ERRORS = 0x01, LOG_HEALTH = 0x02, LOG_FIRMWARE = 0x03, LOG_EFFECTS = 0x05 };

static void fill_health(const struct nvme *nvme, uint8_t *data)
{
    put(data + 1, TEMPERATURE_KELVIN, 2);
    data[3] = 100; /* available spare, percent */
    data[4] = 10;  /* its threshold */
    put(data + 32, (nvme->units_read + 999) / 1000, 8);
    put(data + 48, (nvme->units_written + 999) / 1000, 8);
    put(data + 64, nvme->reads, 8);
    put(data + 80, nvme->writes, 8);
    put(data + 144, nvme->unsafe_shutdowns, 8);
    put(data + 176, nvme->error_count, 8);
}

static void fill_effects(uint8_t *data)
{
    static const uint8_t admin[] = {ADMIN_DELETE_SQ,    ADMIN_CREATE_SQ,    ADMIN_GET_LOG,
                                    ADMIN_DELETE_CQ,    ADMIN_CREATE_CQ,    ADMIN_IDENTIFY,
                                    ADMIN_ABORT,        ADMIN_SET_FEATURES, ADMIN_GET_FEATURES,
                                    ADMIN_EVENT_REQUEST};
    static const uint8_t io[] = {0x00, 0x01, 0x02, 0x05, 0x08};
    for (size_t i = 0; i < sizeof admin; i++)
        put(data + 4 * admin[i], 1, 4);
    for (size_t i = 0; i < sizeof io; i++) /* bit 1: changes what is stored */
        put(data + 1024 + 4 * io[i], io[i] == 0x01 || io[i] == 0x08 ? 3 : 1, 4);
}

static uint16_t get_log(struct nvme *nvme, const struct nvme_command *command, uint32_t *result)
{
    uint8_t data[IDENTIFY_SIZE] = {0};
    uint64_t length =
        ((command->dword10 >> 16 | (uint64_t)(command->dword11 & 0xffff) << 16) + 1) * 4;
    uint64_t offset = command->dword12 | (uint64_t)command->dword13 << 32;
    size_t size;
    switch (command->dword10 & 0xff) {
    case LOG_ERRORS:
        size = 64; /* one entry, which counts zero errors: details are not kept */
        break;
    case LOG_HEALTH:
        size = 512;
        fill_health(nvme, data);
        break;
    case LOG_FIRMWARE:
        size = 512;
        data[0] = 1; /* slot 1 is active */
        put_text(data + 8, 8, "1.0");
        break;
    case LOG_EFFECTS:
        size = 4096;
        fill_effects(data);
        break;
    default:
        return refuse(NVME_INVALID_LOG);
    }
    if (offset % 4 || offset > size)
        return refuse(NVME_INVALID_FIELD);
    if (length > size - offset)
        length = size - offset;
    return nvme_transfer(nvme, command, data + offset, (size_t)length, true);
}

/* -- Features (5.13, 5.21) -- */

static const struct feature_info {
    bool supported, changeable;
    uint32_t initial;
} features[16] = {
    [FEATURE_ARBITRATION] = {true, true, 7}, /* no limit to a burst */
    [FEATURE_POWER] = {true, true, 0},
    [FEATURE_TEMPERATURE] = {true, true, TEMPERATURE_WARNING},
    [FEATURE_ERROR_RECOVERY] = {true, true, 0},
    [FEATURE_WRITE_CACHE] = {true, true, 1},
    [FEATURE_QUEUES] = {true, true, (NVME_IO_QUEUES - 1) << 16 | (NVME_IO_QUEUES - 1)},
    [FEATURE_COALESCING] = {true, true, 0},
    [FEATURE_VECTOR] = {true, true, 0},
    [FEATURE_ATOMICITY] = {true, true, 0},
    [FEATURE_EVENTS] = {true, true, 0},
};

void nvme_features_reset(struct nvme *nvme)
{
    for (int i = 0; i < 16; i++)
        nvme->feature[i] = features[i].initial;
}

static uint16_t get_features(struct nvme *nvme, const struct nvme_command *command,
                             uint32_t *result)
{
    enum { CURRENT = 0, DEFAULT = 1, SAVED = 2, CAPABILITIES = 3 };
    unsigned id = command->dword10 & 0xff, select = command->dword10 >> 8 & 7;
    if (id >= 16 || !features[id].supported || select > CAPABILITIES)
        return refuse(NVME_INVALID_FIELD);
    if (select == CAPABILITIES)
        *result = (uint32_t)features[id].changeable << 2;
    else if (id == FEATURE_VECTOR) /* coalescing is off for every vector */
        *result = (command->dword11 & 0xffff) | 1u << 16;
    else
        *result = select == CURRENT ? nvme->feature[id] : features[id].initial;
    return NVME_SUCCESS;
}

static uint16_t set_features(struct nvme *nvme, const struct nvme_command *command,
                             uint32_t *result)
{
    unsigned id = command->dword10 & 0xff;
    if (id >= 16 || !features[id].supported)
        return refuse(NVME_INVALID_FIELD);
    if (command->dword10 >> 31)
        return refuse(NVME_NOT_SAVEABLE);
    switch (id) {
    case FEATURE_QUEUES: /* whatever is asked for, this is what there is */
        if ((command->dword11 & 0xffff) == 0xffff || command->dword11 >> 16 == 0xffff)
            return refuse(NVME_INVALID_FIELD);
        *result = nvme->feature[id];
        break;
    case FEATURE_POWER: /* there is one state */
        if (command->dword11 & 0x1f)
            return refuse(NVME_INVALID_FIELD);
        break;
    case FEATURE_VECTOR:
        if ((command->dword11 & 0xffff) >= NVME_QUEUES)
            return refuse(NVME_INVALID_FIELD);
        break;
    case FEATURE_COALESCING: /* a hint; every completion is told at once */
    default:
        nvme->feature[id] = command->dword11;
    }
    return NVME_SUCCESS;
}

/* -- Events (5.2) -- */

void nvme_event(struct nvme *nvme, uint8_t type, uint8_t info, uint8_t log)
{
    if (!nvme->events)
        return;
    nvme_complete(nvme, 0, nvme->event_cid[--nvme->events], NVME_SUCCESS,
                  type | (uint32_t)info << 8 | (uint32_t)log << 16);
}

static uint16_t request_event(struct nvme *nvme, const struct nvme_command *command,
                              uint32_t *result)
{
    if (nvme->events == NVME_EVENTS)
        return refuse(NVME_EVENT_LIMIT);
    nvme->event_cid[nvme->events++] = command->cid;
    return NVME_NO_COMPLETION;
}

/* A command at a worker ends by itself; only its completion tells (5.1). */
static uint16_t abort_command(struct nvme *nvme, const struct nvme_command *command,
                              uint32_t *result)
{
    *result = 1; /* not aborted */
    return NVME_SUCCESS;
}

uint16_t nvme_admin(struct nvme *nvme, const struct nvme_command *command, uint32_t *result)
{
    static uint16_t (*const commands[])(struct nvme *, const struct nvme_command *, uint32_t *) = {
        [ADMIN_DELETE_SQ] = delete_sq,       [ADMIN_CREATE_SQ] = create_sq,
        [ADMIN_GET_LOG] = get_log,           [ADMIN_DELETE_CQ] = delete_cq,
        [ADMIN_CREATE_CQ] = create_cq,       [ADMIN_IDENTIFY] = identify,
        [ADMIN_ABORT] = abort_command,       [ADMIN_SET_FEATURES] = set_features,
        [ADMIN_GET_FEATURES] = get_features, [ADMIN_EVENT_REQUEST] = request_event,
    };
    if (command->opcode >= sizeof commands / sizeof *commands || !commands[command->opcode])
        return refuse(NVME_INVALID_OPCODE);
    return commands[command->opcode](nvme, command, result);
}
