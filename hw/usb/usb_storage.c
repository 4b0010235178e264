/*
 * USB mass storage (Universal Serial Bus Mass Storage Class, Bulk-Only Transport 1.0).
 *
 *     OUT  command block wrapper (31 bytes)     COMMAND
 *     IN   data, or                             DATA_IN     a chunk from the image at a time
 *     OUT  data                                 DATA_OUT    a chunk to the image at a time
 *     IN   command status wrapper (13 bytes)    STATUS
 *
 * While a worker reads or writes a chunk both endpoints answer NAK. A command with few data from
 * the host gets them before it is executed, as SCSI wants parameters; others are writes, whose data
 * follow.
 *
 * What the host expects and what the command moves may differ (section 6.7, the thirteen cases):
 * the device stops when the smaller of both is done, halts the endpoint where the host waits for
 * more, and tells the rest in the status. A command that would move more, or the other way, ends in
 * a phase error.
 *
 * Not modelled: several logical units.
 */
#include "hw/usb/usb_storage.h"
#include "hw/alloc.h"
#include "hw/storage/scsi.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define ENDPOINT_IN   0x81
#define ENDPOINT_OUT  0x02
#define CHUNK         131072u
#define CBW_BYTES     31
#define CSW_BYTES     13
#define CBW_SIGNATURE 0x43425355u
#define CSW_SIGNATURE 0x53425355u
#define CBW_IN        0x80
#define KIND_MASK     0x60

/* Class requests (3). */
enum { GET_MAX_LUN = 0xfe, MASS_STORAGE_RESET = 0xff };

enum csw_status { CSW_PASSED, CSW_FAILED, CSW_PHASE_ERROR };

enum phase {
    COMMAND,
    PARAMETERS, /* data from the host that the command is executed with */
    DATA_IN,
    DATA_OUT,
    STATUS,
    BROKEN, /* after an invalid wrapper: until a reset by the class request (6.6.1) */
    PHASES
};

struct usb_storage {
    struct usb_device usb;
    /* -- State -- */
    struct scsi_unit unit;
    uint8_t phase;
    uint32_t tag;
    bool to_host;      /* which way the host expects data */
    uint32_t expected; /* bytes that the host still expects to move */
    uint32_t left;     /* bytes that the command still moves */
    uint32_t residue;  /* of what the host announced, not processed */
    bool phase_error;
    uint8_t status;  /* of the SCSI command */
    uint8_t action;  /* enum scsi_action */
    uint64_t offset; /* in the image, of the next chunk */
    bool through;
    uint8_t cdb[SCSI_CDB_MAX];
    uint32_t chunk_length, chunk_done;
    uint8_t chunk[CHUNK];
    /* -- Not saved: only while a worker has a job -- */
    struct loop *loop;
    _Atomic uint64_t *activity;
    struct scsi_command command;
    bool busy, stale; /* stale: the host has reset the device meanwhile */
    int job_status;
    uint32_t job_length;
};

static const struct field usb_storage_fields[] = {
    FIELD_STRUCT(struct usb_storage, usb, usb_device_fields, 1),
    FIELD_STRUCT(struct usb_storage, unit, scsi_unit_fields, 1),
    FIELD(struct usb_storage, phase, 1),
    FIELD(struct usb_storage, tag, 1),
    FIELD(struct usb_storage, to_host, 1),
    FIELD(struct usb_storage, expected, 1),
    FIELD(struct usb_storage, left, 1),
    FIELD(struct usb_storage, residue, 1),
    FIELD(struct usb_storage, phase_error, 1),
    FIELD(struct usb_storage, status, 1),
    FIELD(struct usb_storage, action, 1),
    FIELD(struct usb_storage, offset, 1),
    FIELD(struct usb_storage, through, 1),
    FIELD_ARRAY(struct usb_storage, cdb, 1),
    FIELD(struct usb_storage, chunk_length, 1),
    FIELD(struct usb_storage, chunk_done, 1),
    FIELD_ARRAY(struct usb_storage, chunk, 1),
    FIELD_END,
};

/* -- Descriptors -- */

#define CONFIGURATION(length)  9, USB_CONFIGURATION_DESCRIPTOR, USB_U16(length), 1, 1, 0, 0xc0, 0
#define INTERFACE              9, USB_INTERFACE_DESCRIPTOR, 0, 0, 2, 8, 6, 0x50, 0 /* SCSI, bulk-only */
#define BULK(endpoint, packet) 7, USB_ENDPOINT_DESCRIPTOR, endpoint, 2, USB_U16(packet), 0
#define COMPANION(burst)       6, USB_COMPANION_DESCRIPTOR, burst, 0, USB_U16(0)

static const uint8_t full_speed[] = {CONFIGURATION(32), INTERFACE, BULK(ENDPOINT_IN, 64),
                                     BULK(ENDPOINT_OUT, 64)};
static const uint8_t high_speed[] = {CONFIGURATION(32), INTERFACE, BULK(ENDPOINT_IN, 512),
                                     BULK(ENDPOINT_OUT, 512)};
static const uint8_t super_speed[] = {CONFIGURATION(44),        INTERFACE,
                                      BULK(ENDPOINT_IN, 1024),  COMPANION(15),
                                      BULK(ENDPOINT_OUT, 1024), COMPANION(15)};

static const struct usb_description description = {
    .vendor = 0x46f4, /* those of a virtual machine's disk */
    .product = 0x0001,
    .release = 0x0100,
    .manufacturer = "doppel",
    .name = "USB Storage",
    .configuration = {[USB_FULL] = full_speed, [USB_HIGH] = high_speed, [USB_SUPER] = super_speed},
};

/* -- The end of a command -- */

/* All that the command moves has moved, or will never. A host that waits for more learns it from a
 * halted endpoint, unless a short packet has told it. */
static void enter_status(struct usb_storage *storage, bool told)
{
    storage->chunk_length = storage->chunk_done = 0;
    storage->phase = STATUS;
    if (storage->expected && !told) {
        uint8_t endpoint = storage->to_host ? ENDPOINT_IN : ENDPOINT_OUT;
        usb_halt(&storage->usb, endpoint);
        usb_ready(&storage->usb, endpoint);
    }
    usb_ready(&storage->usb, ENDPOINT_IN);
}

static void command_finished(struct usb_storage *storage)
{
    storage->status = storage->command.status;
    enter_status(storage, false);
}

/* -- Work on the image -- */

static void run_job(void *opaque)
{
    struct usb_storage *storage = opaque;
    struct image *image = storage->unit.image;

    if (storage->action == SCSI_CLEAR)
        storage->job_status = scsi_clear(&storage->unit, &storage->command);
    else if (storage->action == SCSI_READ)
        storage->job_status =
            image_read(image, storage->offset, storage->chunk, storage->job_length);
    else
        storage->job_status =
            image_write(image, storage->offset, storage->chunk, storage->job_length);
    if (!storage->job_status && storage->action == SCSI_WRITE && storage->through &&
        storage->job_length == storage->left)
        storage->job_status = image_flush(image);
}

static void job_done(void *opaque);

static void start_job(struct usb_storage *storage, uint32_t length)
{
    storage->busy = true;
    storage->stale = false;
    storage->job_length = length;
    loop_work(storage->loop, run_job, job_done, storage);
}

static void read_chunk(struct usb_storage *storage)
{
    storage->chunk_length = storage->chunk_done = 0;
    start_job(storage, storage->left < CHUNK ? storage->left : CHUNK);
}

static void chunk_read(struct usb_storage *storage)
{
    storage->chunk_length = storage->job_length;
    storage->offset += storage->job_length;
    usb_ready(&storage->usb, ENDPOINT_IN);
}

static void chunk_written(struct usb_storage *storage)
{
    storage->chunk_length = storage->chunk_done = 0;
    storage->offset += storage->job_length;
    storage->left -= storage->job_length;
    storage->residue -= storage->job_length;
    if (storage->left)
        usb_ready(&storage->usb, ENDPOINT_OUT);
    else
        command_finished(storage);
}

static void job_done(void *opaque)
{
    struct usb_storage *storage = opaque;

    storage->busy = false;
    atomic_fetch_add_explicit(storage->activity, storage->job_length / SECTOR_SIZE + 1,
                              memory_order_relaxed);
    if (storage->stale) {
        usb_ready(&storage->usb, ENDPOINT_OUT); /* a new command waits, perhaps */
        return;
    }
    bool over = storage->job_status || storage->action == SCSI_CLEAR;
    if (over || storage->job_length == storage->left)
        scsi_finish(&storage->unit, &storage->command, storage->job_status);
    if (over)
        command_finished(storage);
    else if (storage->action == SCSI_READ)
        chunk_read(storage);
    else
        chunk_written(storage);
}

/* -- Commands -- */

/* The command moves `length` bytes one way; the host announced `announced` its way. */
static void begin_data(struct usb_storage *storage, uint64_t length, bool to_host,
                       uint32_t announced)
{
    bool agreed = length == 0 || storage->to_host == to_host;

    storage->phase_error = !agreed || length > announced;
    if (!agreed)
        length = 0;
    storage->left = length < announced ? (uint32_t)length : announced;
}

/* Executes the command; `given` bytes of data that came with it are in the chunk. */
static void execute(struct usb_storage *storage, uint32_t given)
{
    struct scsi_command *command = &storage->command;

    memset(command, 0, sizeof *command);
    memcpy(command->cdb, storage->cdb, sizeof command->cdb);
    command->parameters = storage->chunk;
    command->parameter_length = given < SCSI_PARAMETER_MAX ? given : SCSI_PARAMETER_MAX;
    command->data_length = storage->to_host ? 0 : given + storage->expected;
    scsi_execute(&storage->unit, command);
    storage->action = (uint8_t)command->action;
    storage->status = command->action == SCSI_DONE ? command->status : SCSI_GOOD;
    storage->offset = command->offset;
    storage->through = command->through;
    storage->chunk_length = storage->chunk_done = 0;
    begin_data(storage, command->action == SCSI_DONE ? command->reply_length : command->length,
               command->action != SCSI_WRITE, storage->expected + given);
    if (command->action != SCSI_WRITE && storage->status == SCSI_GOOD)
        storage->residue -= given; /* parameters */
    storage->phase = storage->to_host ? DATA_IN : DATA_OUT;
    if (command->action == SCSI_CLEAR) {
        storage->left = 0;
        start_job(storage, 0);
    } else if (!storage->left) {
        enter_status(storage, false);
    } else if (command->action == SCSI_READ) {
        read_chunk(storage);
    } else if (command->action == SCSI_DONE) {
        memcpy(storage->chunk, command->reply, storage->left);
        storage->chunk_length = storage->left;
        usb_ready(&storage->usb, ENDPOINT_IN);
    } else if (given) {
        start_job(storage, storage->left);
    }
}

static bool wrapper_is_valid(const uint8_t *cbw, uint32_t length)
{
    uint32_t signature;

    memcpy(&signature, cbw, sizeof signature);
    return length == CBW_BYTES && signature == CBW_SIGNATURE && (cbw[13] & 0x0f) == 0 &&
           (cbw[14] & 0x1f) >= 1 && (cbw[14] & 0x1f) <= SCSI_CDB_MAX;
}

static uint32_t get_le32(const uint8_t *bytes)
{
    return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static void put_le32(uint8_t *bytes, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++)
        bytes[i] = (uint8_t)(value >> (8 * i));
}

static enum usb_result take_command(struct usb_storage *storage, struct usb_transfer *transfer)
{
    const uint8_t *cbw = transfer->data;

    if (transfer->length < CBW_BYTES || !wrapper_is_valid(cbw, transfer->length)) {
        storage->phase = BROKEN;
        usb_halt(&storage->usb, ENDPOINT_IN);
        usb_halt(&storage->usb, ENDPOINT_OUT);
        return USB_STALL;
    }
    transfer->actual = CBW_BYTES;
    storage->tag = get_le32(cbw + 4);
    storage->expected = storage->residue = get_le32(cbw + 8);
    storage->to_host = cbw[12] & CBW_IN;
    storage->phase_error = false;
    storage->left = 0;
    memset(storage->cdb, 0, sizeof storage->cdb);
    memcpy(storage->cdb, cbw + 15, cbw[14] & 0x1f);
    storage->chunk_length = storage->chunk_done = 0;
    if (!storage->to_host && storage->expected && storage->expected <= SCSI_PARAMETER_MAX) {
        storage->phase = PARAMETERS;
        storage->chunk_length = storage->expected;
        return USB_OK;
    }
    execute(storage, 0);
    return USB_OK;
}

/* -- Data and status -- */

static enum usb_result take_data(struct usb_storage *storage, struct usb_transfer *transfer)
{
    uint32_t room = storage->chunk_length - storage->chunk_done;
    uint32_t count = transfer->length < room ? transfer->length : room;

    memcpy(storage->chunk + storage->chunk_done, transfer->data, count);
    storage->chunk_done += count;
    storage->expected -= count;
    transfer->actual = count;
    if (storage->chunk_done == storage->chunk_length) {
        if (storage->phase == PARAMETERS)
            execute(storage, storage->chunk_length);
        else
            start_job(storage, storage->chunk_length);
    }
    return count < transfer->length ? USB_NAK : USB_OK;
}

static enum usb_result take_out(struct usb_storage *storage, struct usb_transfer *transfer)
{
    if (storage->busy)
        return USB_NAK;
    switch (storage->phase) {
    case COMMAND:
        return take_command(storage, transfer);
    case DATA_OUT:
        if (storage->chunk_done == storage->chunk_length) {
            storage->chunk_length = storage->left < CHUNK ? storage->left : CHUNK;
            storage->chunk_done = 0;
        }
        return take_data(storage, transfer);
    case PARAMETERS:
        return take_data(storage, transfer);
    }
    usb_halt(&storage->usb, ENDPOINT_OUT); /* the host is out of step */
    return USB_STALL;
}

static enum usb_result give_data(struct usb_storage *storage, struct usb_transfer *transfer)
{
    uint32_t there = storage->chunk_length - storage->chunk_done;
    uint32_t count = transfer->length < there ? transfer->length : there;

    memcpy(transfer->data, storage->chunk + storage->chunk_done, count);
    storage->chunk_done += count;
    storage->expected -= count;
    storage->residue -= count;
    storage->left -= count;
    transfer->actual = count;
    if (storage->left) {
        if (storage->chunk_done == storage->chunk_length)
            read_chunk(storage);
        return count < transfer->length ? USB_NAK : USB_OK;
    }
    transfer->short_packet = count % usb_packet_size(&storage->usb, ENDPOINT_IN) != 0;
    enter_status(storage, transfer->short_packet);
    /* Full packets alone do not end the host's transfer: the halted endpoint does. */
    return transfer->short_packet || count == transfer->length ? USB_OK : USB_STALL;
}

static enum usb_result give_status(struct usb_storage *storage, struct usb_transfer *transfer)
{
    uint8_t *csw = transfer->data;

    if (transfer->length < CSW_BYTES)
        return USB_BABBLE;
    put_le32(csw, CSW_SIGNATURE);
    put_le32(csw + 4, storage->tag);
    put_le32(csw + 8, storage->residue);
    csw[12] = storage->phase_error           ? CSW_PHASE_ERROR
              : storage->status == SCSI_GOOD ? CSW_PASSED
                                             : CSW_FAILED;
    transfer->actual = CSW_BYTES;
    transfer->short_packet = true;
    storage->phase = COMMAND;
    usb_ready(&storage->usb, ENDPOINT_OUT);
    return USB_OK;
}

static enum usb_result give_in(struct usb_storage *storage, struct usb_transfer *transfer)
{
    if (storage->busy)
        return USB_NAK;
    switch (storage->phase) {
    case DATA_IN:
        return give_data(storage, transfer);
    case STATUS:
        return give_status(storage, transfer);
    case BROKEN:
        usb_halt(&storage->usb, ENDPOINT_IN);
        return USB_STALL;
    }
    return USB_NAK;
}

static enum usb_result storage_transfer(struct usb_device *usb, struct usb_transfer *transfer)
{
    struct usb_storage *storage = (struct usb_storage *)usb;

    return transfer->token == USB_IN ? give_in(storage, transfer) : take_out(storage, transfer);
}

/* -- Endpoint 0 -- */

static void storage_restart(struct usb_device *usb)
{
    struct usb_storage *storage = (struct usb_storage *)usb;

    storage->phase = COMMAND;
    storage->expected = storage->left = storage->residue = 0;
    storage->chunk_length = storage->chunk_done = 0;
    storage->stale = true;
}

static bool storage_request(struct usb_device *usb, const struct usb_setup *setup, uint8_t *data,
                            unsigned *length)
{
    if ((setup->type & KIND_MASK) != USB_TYPE_CLASS)
        return false;
    switch (setup->request) {
    case GET_MAX_LUN:
        data[0] = 0;
        *length = 1;
        return true;
    case MASS_STORAGE_RESET: /* the endpoints stay halted until the host clears them */
        storage_restart(usb);
        return true;
    }
    return false;
}

static const struct usb_device_ops usb_ops = {
    .description = &description,
    .request = storage_request,
    .transfer = storage_transfer,
    .restart = storage_restart,
};

/* -- Life -- */

static void usb_storage_reset(struct device *device)
{
    struct usb_storage *storage = (struct usb_storage *)device;

    usb_device_power_on(&storage->usb);
    scsi_unit_reset(&storage->unit);
}

static bool usb_storage_post_load(struct device *device, struct error *error)
{
    struct usb_storage *storage = (struct usb_storage *)device;
    uint32_t most = storage->phase == PARAMETERS ? SCSI_PARAMETER_MAX : CHUNK;

    if (storage->phase >= PHASES || storage->action > SCSI_CLEAR || storage->chunk_length > most ||
        storage->chunk_done > storage->chunk_length ||
        (storage->phase == DATA_IN && storage->left < storage->chunk_length - storage->chunk_done))
        return error_set(error, "The saved state of USB device '%s' is damaged", device->id);
    storage->unit.tray_open &= storage->unit.cdrom;
    memset(&storage->command, 0, sizeof storage->command);
    memcpy(storage->command.cdb, storage->cdb, sizeof storage->cdb);
    storage->command.action = (enum scsi_action)storage->action;
    return usb_device_post_load(&storage->usb, error);
}

static void usb_storage_destroy(struct device *device)
{
    struct usb_storage *storage = (struct usb_storage *)device;

    storage->stale = true;
    if (storage->busy)
        loop_drain(storage->loop);
    free(storage);
}

static const struct device_ops usb_storage_ops = {
    .name = "usb-storage",
    .fields = usb_storage_fields,
    .version = 1,
    .reset = usb_storage_reset,
    .post_load = usb_storage_post_load,
    .destroy = usb_storage_destroy,
};

struct usb_device *usb_storage_new(struct device_list *list, struct loop *loop, struct image *image,
                                   bool cdrom, unsigned number, _Atomic uint64_t *activity,
                                   const char *id)
{
    struct usb_storage *storage = alloc_zeroed(sizeof *storage);

    usb_device_init(&storage->usb, &usb_ops);
    storage->loop = loop;
    storage->activity = activity;
    storage->unit.image = image;
    storage->unit.cdrom = cdrom;
    storage->unit.tray_open = cdrom && !image;
    snprintf(storage->unit.serial, sizeof storage->unit.serial, "DU-%05u", number);
    /* The transport wants at least twelve hexadecimal digits (4.1.1). */
    snprintf(storage->usb.serial, sizeof storage->usb.serial, "D0BBE1%08X", number);
    scsi_unit_reset(&storage->unit);
    device_add(list, &storage->usb.device, &usb_storage_ops, id);
    return &storage->usb;
}
