/*
 * NVM Express controller: registers, queues, interrupts.
 *
 * Specification: NVM Express 1.4, sections 3 (registers), 4 (queues, PRP entries), 7.3 and 7.6
 * (resets, initialization). Admin commands are in nvme_admin.c, reads and writes in nvme_io.c.
 *
 * A submission queue's commands are fetched while a request is free and its completion queue has
 * room: every command in progress has its completion entry reserved, so ending one never waits.
 *
 *     doorbell --> nvme_fetch --> nvme_admin -------------> nvme_complete --> entry, interrupt
 *                            \--> nvme_io --> worker --> finish --^
 *
 * Not modelled: SGLs, metadata and protection information, controller memory buffer, fused
 * operations, weighted arbitration (queues take turns), pages other than 4 KiB, several namespaces,
 * a 64-bit BAR 0 (it is placed below 4 GiB).
 */
#include "hw/alloc.h"
#include "hw/storage/nvme_internal.h"

#include <string.h>

enum nvme_register {
    REG_CAP = 0x00,
    REG_VS = 0x08,
    REG_INTMS = 0x0c,
    REG_INTMC = 0x10,
    REG_CC = 0x14,
    REG_CSTS = 0x1c,
    REG_NSSR = 0x20,
    REG_AQA = 0x24,
    REG_ASQ = 0x28,
    REG_ACQ = 0x30,
    REG_DOORBELLS = 0x1000,
};

/* CAP: contiguous queues, 20 * 500 ms until ready, NVM command set, 4 KiB pages. */
#define CAP_VALUE   (UINT64_C(1) << 37 | UINT64_C(20) << 24 | 1u << 16 | (NVME_QUEUE_ENTRIES - 1))
#define VERSION_1_4 0x00010400u

#define CC_EN       0x00000001u
#define CC_CSS      0x00000070u
#define CC_MPS      0x00000780u
#define CC_SHN      0x0000c000u
#define CC_WRITABLE 0x00fffff1u

#define CSTS_RDY    0x00000001u
#define CSTS_CFS    0x00000002u
#define CSTS_SHST   0x0000000cu
#define CSTS_SHUT   0x00000008u

#define BAR_SIZE    0x4000

static const struct field nvme_sq_fields[] = {
    FIELD(struct nvme_sq, created, 1),
    FIELD(struct nvme_sq, base, 1),
    FIELD(struct nvme_sq, entries, 1),
    FIELD(struct nvme_sq, head, 1),
    FIELD(struct nvme_sq, tail, 1),
    FIELD(struct nvme_sq, cq, 1),
    FIELD_END,
};

static const struct field nvme_cq_fields[] = {
    FIELD(struct nvme_cq, created, 1),
    FIELD(struct nvme_cq, interrupts, 1),
    FIELD(struct nvme_cq, base, 1),
    FIELD(struct nvme_cq, entries, 1),
    FIELD(struct nvme_cq, head, 1),
    FIELD(struct nvme_cq, tail, 1),
    FIELD(struct nvme_cq, vector, 1),
    FIELD(struct nvme_cq, phase, 1),
    FIELD_END,
};

static const struct field nvme_fields[] = {
    FIELD_STRUCT(struct nvme, pci, pci_device_fields, 1),
    FIELD_STRUCT(struct nvme, msix, pci_msix_fields, 1),
    FIELD(struct nvme, intms, 1),
    FIELD(struct nvme, cc, 1),
    FIELD(struct nvme, csts, 1),
    FIELD(struct nvme, aqa, 1),
    FIELD(struct nvme, asq, 1),
    FIELD(struct nvme, acq, 1),
    FIELD_STRUCTS(struct nvme, sq, nvme_sq_fields, 1),
    FIELD_STRUCTS(struct nvme, cq, nvme_cq_fields, 1),
    FIELD_ARRAY(struct nvme, feature, 1),
    FIELD_ARRAY(struct nvme, event_cid, 1),
    FIELD(struct nvme, events, 1),
    FIELD(struct nvme, error_count, 1),
    FIELD(struct nvme, units_read, 1),
    FIELD(struct nvme, units_written, 1),
    FIELD(struct nvme, reads, 1),
    FIELD(struct nvme, writes, 1),
    FIELD(struct nvme, unsafe_shutdowns, 1),
    FIELD_END,
};

/* -- Interrupts -- */

/* The level of the interrupt pin, where neither MSI-X nor the mask stands in its way (7.5.1). */
static void update_pin(struct nvme *nvme)
{
    bool level = false;
    for (unsigned i = 0; i < NVME_QUEUES; i++) {
        const struct nvme_cq *cq = &nvme->cq[i];
        level |= cq->created && cq->interrupts && cq->head != cq->tail &&
                 !(cq->vector < 32 && nvme->intms >> cq->vector & 1);
    }
    pci_set_irq(&nvme->pci, level);
}

/* -- Memory -- */

static enum nvme_status move(struct nvme *nvme, uint64_t address, uint8_t *data, size_t length,
                             bool to_guest)
{
    bool ok = to_guest ? pci_dma_write(&nvme->pci, address, data, length)
                       : pci_dma_read(&nvme->pci, address, data, length);
    return ok ? NVME_SUCCESS : NVME_TRANSFER_ERROR;
}

enum nvme_status nvme_transfer(struct nvme *nvme, const struct nvme_command *command, void *data,
                               size_t length, bool to_guest)
{
    uint8_t *at = data;
    size_t part = NVME_PAGE - command->prp1 % NVME_PAGE;
    if (command->prp1 % 4)
        return NVME_PRP_OFFSET | NVME_DO_NOT_RETRY;
    if (part > length)
        part = length;
    enum nvme_status status = move(nvme, command->prp1, at, part, to_guest);
    at += part;
    length -= part;
    if (status || !length)
        return status;
    if (length <= NVME_PAGE) {
        if (command->prp2 % NVME_PAGE)
            return NVME_PRP_OFFSET | NVME_DO_NOT_RETRY;
        return move(nvme, command->prp2, at, length, to_guest);
    }

    /* PRP2 points to a list; the last entry of a list's page leads to the next page. */
    uint64_t list = command->prp2;
    if (list % 8)
        return NVME_PRP_OFFSET | NVME_DO_NOT_RETRY;
    while (length) {
        uint64_t entry;
        bool last = list % NVME_PAGE == NVME_PAGE - sizeof entry;
        if (!pci_dma_read(&nvme->pci, list, &entry, sizeof entry))
            return NVME_TRANSFER_ERROR;
        if (entry % NVME_PAGE)
            return NVME_PRP_OFFSET | NVME_DO_NOT_RETRY;
        if (last && length > NVME_PAGE) {
            list = entry;
            /* The page that follows starts with data, so each step but these moves some. */
            if (!pci_dma_read(&nvme->pci, list, &entry, sizeof entry))
                return NVME_TRANSFER_ERROR;
            if (entry % NVME_PAGE)
                return NVME_PRP_OFFSET | NVME_DO_NOT_RETRY;
        }
        part = length < NVME_PAGE ? length : NVME_PAGE;
        status = move(nvme, entry, at, part, to_guest);
        if (status)
            return status;
        at += part;
        length -= part;
        list += sizeof entry;
    }
    return NVME_SUCCESS;
}

/* -- Queues -- */

/* Something that only a reset of the controller can mend. */
static void fatal(struct nvme *nvme, const char *why)
{
    log_guest("nvme: %s", why);
    nvme->csts |= CSTS_CFS;
}

static uint16_t following(uint16_t index, uint16_t entries)
{
    return (uint16_t)(index + 1 == entries ? 0 : index + 1);
}

/* Free places of a completion queue that nobody has reserved. */
static unsigned room(const struct nvme_cq *cq)
{
    unsigned used = (unsigned)(cq->tail + cq->entries - cq->head) % cq->entries;
    unsigned taken = used + cq->reserved;
    return taken + 1 < cq->entries ? cq->entries - 1u - taken : 0;
}

void nvme_complete(struct nvme *nvme, unsigned sq, uint16_t cid, uint16_t status, uint32_t result)
{
    struct nvme_cq *cq = &nvme->cq[nvme->sq[sq].cq];
    if (cq->reserved)
        cq->reserved--;
    if (!cq->created || (nvme->csts & CSTS_CFS))
        return;
    if ((status & 0x7ff) && sq)
        nvme->error_count++;
    uint32_t entry[4] = {
        result,
        0,
        nvme->sq[sq].head | (uint32_t)sq << 16,
        cid | (uint32_t)cq->phase << 16 | (uint32_t)status << 17,
    };
    if (!pci_dma_write(&nvme->pci, cq->base + 16 * cq->tail, entry, sizeof entry)) {
        fatal(nvme, "a completion queue is not in memory");
        return;
    }
    cq->tail = following(cq->tail, cq->entries);
    if (cq->tail == 0)
        cq->phase = !cq->phase;
    if (cq->interrupts)
        pci_notify(&nvme->pci, cq->vector);
    update_pin(nvme);
}

static struct nvme_request *free_request(struct nvme *nvme)
{
    for (int i = 0; i < NVME_REQUESTS; i++)
        if (!nvme->request[i].active)
            return &nvme->request[i];
    return NULL;
}

/* Takes one command of a queue; false if none may start now. */
static bool fetch_one(struct nvme *nvme, unsigned index)
{
    struct nvme_sq *sq = &nvme->sq[index];
    if (!sq->created || sq->head == sq->tail || !room(&nvme->cq[sq->cq]) || (nvme->csts & CSTS_CFS))
        return false;
    struct nvme_request *request = free_request(nvme);
    if (!request)
        return false;
    struct nvme_command *command = &request->command;
    if (!pci_dma_read(&nvme->pci, sq->base + sizeof *command * sq->head, command,
                      sizeof *command)) {
        fatal(nvme, "a submission queue is not in memory");
        return false;
    }
    sq->head = following(sq->head, sq->entries);
    nvme->cq[sq->cq].reserved++;
    request->nvme = nvme;
    request->sq = (uint16_t)index;

    uint32_t result = 0;
    uint16_t status;
    if (command->flags & 0xc3) /* fused operations, SGLs */
        status = NVME_INVALID_FIELD | NVME_DO_NOT_RETRY;
    else if (index == 0)
        status = nvme_admin(nvme, command, &result);
    else
        status = nvme_io(nvme, request);
    if (status != NVME_NO_COMPLETION)
        nvme_complete(nvme, index, command->cid, status, result);
    return true;
}

void nvme_fetch(struct nvme *nvme)
{
    if (nvme->fetching || !(nvme->csts & CSTS_RDY))
        return;
    nvme->fetching = true;
    for (bool any = true; any;) { /* round robin; queues are finite and only a guest refills them */
        any = false;
        for (unsigned i = 0; i < NVME_QUEUES; i++)
            any |= fetch_one(nvme, i);
    }
    nvme->fetching = false;
}

void nvme_quiesce(struct nvme *nvme)
{
    while (nvme->requests)
        loop_drain(nvme->loop);
}

/* -- Controller states -- */

static void disable(struct nvme *nvme)
{
    nvme->csts &= ~CSTS_RDY; /* nothing new starts while the last requests end */
    nvme_quiesce(nvme);
    memset(nvme->sq, 0, sizeof nvme->sq);
    memset(nvme->cq, 0, sizeof nvme->cq);
    nvme->csts = 0;
    nvme->intms = 0;
    nvme->events = 0;
    nvme_features_reset(nvme);
    update_pin(nvme);
}

static void enable(struct nvme *nvme)
{
    uint16_t sq_entries = (uint16_t)((nvme->aqa & 0xfff) + 1);
    uint16_t cq_entries = (uint16_t)((nvme->aqa >> 16 & 0xfff) + 1);
    if (nvme->cc & (CC_MPS | CC_CSS) || sq_entries < 2 || cq_entries < 2 || nvme->asq % NVME_PAGE ||
        nvme->acq % NVME_PAGE) {
        fatal(nvme, "enabled with a configuration that CAP does not offer");
        return;
    }
    nvme->sq[0] = (struct nvme_sq){.created = true, .base = nvme->asq, .entries = sq_entries};
    nvme->cq[0] = (struct nvme_cq){
        .created = true,
        .interrupts = true,
        .base = nvme->acq,
        .entries = cq_entries,
        .phase = true,
    };
    nvme->csts |= CSTS_RDY;
}

static void finish_shutdown(void *opaque)
{
    struct nvme_request *request = opaque;
    request->active = false;
    request->nvme->requests--;
    request->nvme->csts = (request->nvme->csts & ~CSTS_SHST) | CSTS_SHUT;
}

static void run_shutdown(void *opaque)
{
    struct nvme_request *request = opaque;
    image_flush(request->nvme->image);
}

/* Shutdown notification (7.6.2): what was written is made durable. */
static void shut_down(struct nvme *nvme)
{
    nvme_quiesce(nvme);
    struct nvme_request *request = &nvme->request[0];
    request->nvme = nvme;
    request->active = true;
    nvme->requests++;
    nvme->csts = (nvme->csts & ~CSTS_SHST) | 0x4; /* in progress */
    loop_work(nvme->loop, run_shutdown, finish_shutdown, request);
}

static void write_cc(struct nvme *nvme, uint32_t value)
{
    uint32_t before = nvme->cc;
    nvme->cc = value & CC_WRITABLE;
    if ((before & CC_EN) && !(value & CC_EN))
        disable(nvme);
    else if (!(before & CC_EN) && (value & CC_EN))
        enable(nvme);
    if ((value & CC_SHN) && !(before & CC_SHN))
        shut_down(nvme);
}

/* -- Registers -- */

static void invalid_doorbell(struct nvme *nvme, uint8_t info)
{
    log_guest("nvme: doorbell of a queue that is not there, or beyond its end");
    nvme_event(nvme, 0, info, 0x01);
}

/* Doorbells (3.1.24): even ones are submission queue tails, odd ones completion queue heads. */
static void ring(struct nvme *nvme, unsigned number, uint16_t value)
{
    unsigned index = number / 2;
    if (number % 2 == 0) {
        if (index >= NVME_QUEUES || !nvme->sq[index].created) {
            invalid_doorbell(nvme, 0);
            return;
        }
        struct nvme_sq *sq = &nvme->sq[index];
        if (value >= sq->entries) {
            invalid_doorbell(nvme, 1);
            return;
        }
        sq->tail = value;
    } else {
        if (index >= NVME_QUEUES || !nvme->cq[index].created) {
            invalid_doorbell(nvme, 0);
            return;
        }
        struct nvme_cq *cq = &nvme->cq[index];
        unsigned used = (unsigned)(cq->tail + cq->entries - cq->head) % cq->entries;
        unsigned taken = (unsigned)(value + cq->entries - cq->head) % cq->entries;
        if (value >= cq->entries || taken > used) {
            invalid_doorbell(nvme, 1);
            return;
        }
        cq->head = value;
        update_pin(nvme);
    }
    nvme_fetch(nvme);
}

static uint32_t read_dword(const struct nvme *nvme, uint64_t offset)
{
    switch (offset) {
    case REG_CAP:
        return (uint32_t)CAP_VALUE;
    case REG_CAP + 4:
        return (uint32_t)(CAP_VALUE >> 32);
    case REG_VS:
        return VERSION_1_4;
    case REG_INTMS:
    case REG_INTMC:
        return nvme->intms;
    case REG_CC:
        return nvme->cc;
    case REG_CSTS:
        return nvme->csts;
    case REG_AQA:
        return nvme->aqa;
    case REG_ASQ:
        return (uint32_t)nvme->asq;
    case REG_ASQ + 4:
        return (uint32_t)(nvme->asq >> 32);
    case REG_ACQ:
        return (uint32_t)nvme->acq;
    case REG_ACQ + 4:
        return (uint32_t)(nvme->acq >> 32);
    default:
        return 0;
    }
}

static uint64_t nvme_read(void *opaque, uint64_t offset, unsigned size)
{
    const struct nvme *nvme = opaque;
    uint64_t value = read_dword(nvme, offset & ~UINT64_C(3));
    if (size == 8)
        value |= (uint64_t)read_dword(nvme, (offset & ~UINT64_C(3)) + 4) << 32;
    return value;
}

static void write_dword(struct nvme *nvme, uint64_t offset, uint32_t value)
{
    if (offset >= REG_DOORBELLS) {
        ring(nvme, (unsigned)(offset - REG_DOORBELLS) / 4, (uint16_t)value);
        return;
    }
    switch (offset) {
    case REG_INTMS:
        nvme->intms |= value;
        update_pin(nvme);
        break;
    case REG_INTMC:
        nvme->intms &= ~value;
        update_pin(nvme);
        break;
    case REG_CC:
        write_cc(nvme, value);
        break;
    case REG_AQA:
        nvme->aqa = value & 0x0fff0fff;
        break;
    case REG_ASQ:
        nvme->asq = (nvme->asq & ~UINT64_C(0xffffffff)) | (value & ~0xfffu);
        break;
    case REG_ASQ + 4:
        nvme->asq = (nvme->asq & 0xffffffff) | (uint64_t)value << 32;
        break;
    case REG_ACQ:
        nvme->acq = (nvme->acq & ~UINT64_C(0xffffffff)) | (value & ~0xfffu);
        break;
    case REG_ACQ + 4:
        nvme->acq = (nvme->acq & 0xffffffff) | (uint64_t)value << 32;
        break;
    case REG_CAP:
    case REG_CAP + 4:
    case REG_VS:
    case REG_CSTS:
        break;
    default:
        log_guest("nvme: write of %#x to register %#x, which is not built", value,
                  (unsigned)offset);
    }
}

static void nvme_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    write_dword(opaque, offset, (uint32_t)value);
    if (size == 8)
        write_dword(opaque, offset + 4, (uint32_t)(value >> 32));
}

static const struct access_ops nvme_access = {nvme_read, nvme_write, 4, 8};

/* -- Life -- */

static void nvme_reset(struct device *device)
{
    struct nvme *nvme = (struct nvme *)device;
    if ((nvme->csts & CSTS_RDY) && !(nvme->csts & CSTS_SHST))
        nvme->unsafe_shutdowns++;
    disable(nvme);
    nvme->cc = nvme->aqa = 0;
    nvme->asq = nvme->acq = 0;
    nvme->error_count = 0;
    pci_device_reset(&nvme->pci);
}

static bool nvme_post_load(struct device *device, struct error *error)
{
    struct nvme *nvme = (struct nvme *)device;
    if (!pci_device_post_load(&nvme->pci, error))
        return false;
    bool ok = nvme->events <= NVME_EVENTS;
    for (unsigned i = 0; i < NVME_QUEUES; i++) {
        const struct nvme_sq *sq = &nvme->sq[i];
        const struct nvme_cq *cq = &nvme->cq[i];
        ok &=
            !sq->created || (sq->entries >= 2 && sq->head < sq->entries && sq->tail < sq->entries &&
                             sq->cq < NVME_QUEUES && nvme->cq[sq->cq].created);
        ok &=
            !cq->created || (cq->entries >= 2 && cq->head < cq->entries && cq->tail < cq->entries);
        nvme->cq[i].reserved = i ? 0 : nvme->events;
    }
    if (!ok)
        return error_set(error, "The saved state of NVMe controller '%s' is damaged", nvme->serial);
    update_pin(nvme);
    return true;
}

static void nvme_destroy(struct device *device)
{
    struct nvme *nvme = (struct nvme *)device;
    nvme->csts &= ~CSTS_RDY;
    nvme_quiesce(nvme);
    free(nvme);
}

static const struct device_ops nvme_ops = {
    .name = "nvme",
    .fields = nvme_fields,
    .version = 1,
    .reset = nvme_reset,
    .post_load = nvme_post_load,
    .destroy = nvme_destroy,
};

struct nvme *nvme_new(struct device_list *list, struct pci_bus *bus, uint8_t devfn,
                      struct image *image, struct loop *loop, _Atomic uint64_t *activity,
                      const char *serial, const char *id)
{
    /* The numbers by which drivers know a virtual controller without quirks. */
    static const struct pci_identity identity = {
        .vendor = 0x1b36,
        .device = 0x0010,
        .prog_if = 0x02, /* NVMe I/O controller */
        .class_code = 0x0108,
        .revision = 2,
        .subsystem_vendor = PCI_SUBSYSTEM_VENDOR_VIRTUAL,
        .subsystem = PCI_SUBSYSTEM_VIRTUAL,
        .interrupt_pin = 1,
    };
    struct nvme *nvme = alloc_zeroed(sizeof *nvme);

    device_add(list, &nvme->pci.device, &nvme_ops, id);
    pci_device_init(&nvme->pci, bus, devfn, &identity);
    pci_add_mmio_bar_64(&nvme->pci, 0, BAR_SIZE, &nvme_access, nvme);
    pci_add_msix(&nvme->pci, &nvme->msix, 0, NVME_QUEUES, 4);
    nvme->image = image;
    nvme->loop = loop;
    nvme->activity = activity;
    snprintf(nvme->serial, sizeof nvme->serial, "%s", serial);
    nvme_features_reset(nvme);
    return nvme;
}
