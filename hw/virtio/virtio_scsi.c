/*
 * Virtio SCSI host adapter (Virtio 1.1, 5.6): targets with one logical unit each.
 *
 *     queues     control, event, request 1, ... request N
 *     a request  {lun, id, attributes, cdb}, data to the device;
 *                {sense length, residual, qualifier, status, response, sense}, data from it
 *
 * What commands mean is in hw/storage/scsi.c. Data moves as in virtio_blk.c. Commands that work on
 * the image cannot be called back: aborts and resets of a unit are answered when they have ended.
 *
 * Not modelled: events (nothing is plugged in while the machine runs), protection information.
 */
#include "hw/virtio/virtio_scsi.h"
#include "hw/alloc.h"
#include "hw/storage/scsi.h"
#include "hw/virtio/virtio_image.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define QUEUE_SIZE   256
#define CONTROL_SIZE 64
#define SEGMENTS     (QUEUE_SIZE - 2)
#define QUEUES_MAX   8

/* Configuration (5.6.4). */
enum {
    CONFIG_QUEUES = 0,
    CONFIG_SEG_MAX = 4,
    CONFIG_MAX_SECTORS = 8,
    CONFIG_PER_LUN = 12,
    CONFIG_EVENT_SIZE = 16,
    CONFIG_SENSE_SIZE = 20,
    CONFIG_CDB_SIZE = 24,
    CONFIG_MAX_TARGET = 30,
    CONFIG_MAX_LUN = 32,
    CONFIG_SIZE = 36,
};
#define SENSE_SIZE 96
#define CDB_SIZE   32

enum { QUEUE_CONTROL, QUEUE_EVENT, QUEUE_REQUEST };

/* Request header and response (5.6.6.1). */
enum { REQUEST_CDB = 19 };
enum {
    RESPONSE_SENSE_LENGTH = 0,
    RESPONSE_RESIDUAL = 4,
    RESPONSE_STATUS = 10,
    RESPONSE_CODE = 11,
    RESPONSE_SENSE = 12,
};
enum response {
    RESPONSE_OK = 0,
    RESPONSE_OVERRUN = 1,
    RESPONSE_BAD_TARGET = 3,
    RESPONSE_FAILURE = 9,
    RESPONSE_INCORRECT_LUN = 12,
};

/* Control requests (5.6.6.2). */
enum { CONTROL_TASK = 0, CONTROL_QUERY = 1, CONTROL_SUBSCRIBE = 2 };
enum {
    TASK_ABORT = 0,
    TASK_ABORT_SET = 1,
    TASK_CLEAR_ACA = 2,
    TASK_CLEAR_SET = 3,
    TASK_NEXUS_RESET = 4,
    TASK_LUN_RESET = 5,
    TASK_QUERY = 6,
    TASK_QUERY_SET = 7,
};

struct scsi_request {
    struct virtio_chain chain;
    struct virtio_scsi *scsi;
    struct scsi_target *target;
    struct scsi_command command;
    uint64_t header, response; /* sizes of both, as they were set when the request was taken */
    uint32_t sense_size;
    int status; /* 0 or an errno value */
    uint8_t parameters[SCSI_PARAMETER_MAX];
};

struct scsi_target {
    struct scsi_unit unit;
    bool present;
};

struct virtio_scsi {
    struct virtio virtio;
    struct scsi_target target[VIRTIO_SCSI_TARGETS];
    _Atomic uint64_t *activity;
    unsigned jobs;                /* commands that the loop's workers have */
    struct virtio_chain *waiting; /* control requests that wait for the end of these */
};

static const struct field scsi_target_fields[] = {
    FIELD_STRUCT(struct scsi_target, unit, scsi_unit_fields, 1),
    FIELD_END,
};

static const struct field virtio_scsi_fields[] = {
    FIELD_STRUCT(struct virtio_scsi, virtio, virtio_fields, 1),
    FIELD_STRUCTS(struct virtio_scsi, target, scsi_target_fields, 1),
    FIELD_END,
};

/* A LUN names a target by its second byte; ours have LUN 0 only (5.6.6.1). */
static struct scsi_target *find_target(struct virtio_scsi *scsi, const uint8_t *lun,
                                       enum response *response)
{
    unsigned number = (unsigned)(lun[2] << 8 | lun[3]) & 0x3fff;
    *response = RESPONSE_BAD_TARGET;
    if (lun[0] != 1 || lun[1] >= VIRTIO_SCSI_TARGETS || !scsi->target[lun[1]].present)
        return NULL;
    *response = number ? RESPONSE_INCORRECT_LUN : RESPONSE_OK;
    return number ? NULL : &scsi->target[lun[1]];
}

/* -- Answers to commands -- */

static void respond(struct scsi_request *request, enum response code, uint64_t moved)
{
    struct virtio_chain *chain = &request->chain;
    const struct scsi_command *command = &request->command;
    uint8_t header[RESPONSE_SENSE] = {0};
    uint64_t in = chain->in_bytes - request->response;
    uint64_t out = chain->out_bytes - request->header;
    uint64_t wanted = in ? in : out, residual = wanted > moved ? wanted - moved : 0;
    bool sense = code == RESPONSE_OK && command->status == SCSI_CHECK_CONDITION;
    uint32_t length = sense ? SCSI_SENSE_SIZE : 0;
    if (length > request->sense_size)
        length = request->sense_size;
    virtio_put(header + RESPONSE_SENSE_LENGTH, length, 4);
    virtio_put(header + RESPONSE_RESIDUAL, residual < UINT32_MAX ? residual : UINT32_MAX, 4);
    header[RESPONSE_STATUS] = code == RESPONSE_OK ? command->status : 0;
    header[RESPONSE_CODE] = (uint8_t)code;
    virtio_write(chain, 0, header, sizeof header);
    virtio_write(chain, sizeof header, command->sense, length);
    virtqueue_push(chain, request->response + (in ? moved : 0));
}

static void finish(struct scsi_request *request)
{
    struct scsi_command *command = &request->command;
    uint64_t moved = command->action == SCSI_CLEAR ? request->chain.out_bytes : command->length;
    scsi_finish(&request->target->unit, command, request->status);
    atomic_fetch_add_explicit(request->scsi->activity, command->length / SECTOR_SIZE + 1,
                              memory_order_relaxed);
    respond(request, RESPONSE_OK, request->status ? 0 : moved);
}

/* -- Work on the image, without the board lock -- */

static int move_data(struct scsi_request *request, bool wait)
{
    const struct scsi_command *command = &request->command;
    struct image *image = request->target->unit.image;
    if (command->action == SCSI_READ)
        return virtio_image_read(image, command->offset, &request->chain, request->response,
                                 command->length, wait);
    int status = virtio_image_write(image, command->offset, &request->chain, request->header,
                                    command->length);
    return status || !command->through ? status : image_flush(image);
}

static void run_job(void *opaque)
{
    struct scsi_request *request = opaque;
    request->status = request->command.action == SCSI_CLEAR
                          ? scsi_clear(&request->target->unit, &request->command)
                          : move_data(request, true);
}

/* -- Control requests -- */

static void answer_control(struct virtio_chain *chain, uint8_t code)
{
    virtio_write(chain, 0, &code, 1);
    virtqueue_push(chain, 1);
}

/* The commands before them have ended: answers aborts and resets. */
static void answer_waiting(struct virtio_scsi *scsi)
{
    if (!scsi->waiting)
        return;
    struct virtqueue *queue = scsi->waiting->queue;
    while (scsi->waiting) {
        struct virtio_chain *chain = scsi->waiting;
        scsi->waiting = chain->next_free;
        answer_control(chain, RESPONSE_OK);
    }
    virtqueue_notify(queue);
}

static void manage_tasks(struct virtio_scsi *scsi, struct virtio_chain *chain)
{
    uint8_t request[24] = {0};
    enum response response;
    virtio_read(chain, 0, request, sizeof request);
    uint32_t function = virtio_le32(request + 4);
    struct scsi_target *target = find_target(scsi, request + 8, &response);
    if (!target || function > TASK_QUERY_SET) {
        answer_control(chain, (uint8_t)(target ? RESPONSE_FAILURE : response));
        return;
    }
    if (function == TASK_LUN_RESET || function == TASK_NEXUS_RESET)
        scsi_unit_reset(&target->unit);
    chain->next_free = scsi->waiting;
    scsi->waiting = chain;
    if (!scsi->jobs)
        answer_waiting(scsi);
}

/* No asynchronous events: none is announced, none is subscribed to. */
static void answer_events(struct virtio_chain *chain)
{
    const uint8_t answer[5] = {0}; /* events, response */
    virtqueue_push(chain, virtio_write(chain, 0, answer, sizeof answer));
}

static void serve_control(struct virtio_scsi *scsi, struct virtqueue *queue)
{
    do {
        struct virtio_chain *chain;
        while ((chain = virtqueue_pop(queue)) != NULL) {
            uint8_t type[4] = {0xff};
            virtio_read(chain, 0, type, sizeof type);
            switch (virtio_le32(type)) {
            case CONTROL_TASK:
                manage_tasks(scsi, chain);
                break;
            case CONTROL_QUERY:
            case CONTROL_SUBSCRIBE:
                answer_events(chain);
                break;
            default:
                virtio_broken(&scsi->virtio, "control request %x", virtio_le32(type));
                virtqueue_drop(chain);
            }
        }
        virtqueue_notify(queue);
    } while (virtqueue_ask(queue));
}

/* -- Commands -- */

static void job_done(void *opaque)
{
    struct scsi_request *request = opaque;
    struct virtio_scsi *scsi = request->scsi;
    struct virtqueue *queue = request->chain.queue;
    finish(request);
    virtqueue_notify(queue);
    if (!--scsi->jobs)
        answer_waiting(scsi);
}

static void start_job(struct scsi_request *request)
{
    request->scsi->jobs++;
    loop_work(request->scsi->virtio.loop, run_job, job_done, request);
}

/* What the command moves must have room in the buffers. */
static bool fits(const struct scsi_request *request)
{
    const struct scsi_command *command = &request->command;
    const struct virtio_chain *chain = &request->chain;
    if (command->action == SCSI_READ)
        return command->length <= chain->in_bytes - request->response;
    if (command->action == SCSI_WRITE)
        return command->length <= chain->out_bytes - request->header;
    return true;
}

static void start(struct scsi_request *request)
{
    struct scsi_command *command = &request->command;
    struct virtio_chain *chain = &request->chain;
    struct loop *loop = request->scsi->virtio.loop;
    if (command->action == SCSI_DONE) {
        size_t sent = virtio_write(chain, request->response, command->reply, command->reply_length);
        respond(request, RESPONSE_OK,
                chain->in_bytes > request->response ? sent : command->parameter_length);
    } else if (!fits(request)) {
        respond(request, RESPONSE_OVERRUN, 0);
    } else if (command->action == SCSI_CLEAR || command->through) {
        start_job(request);
    } else {
        loop_unlock(loop);
        request->status = move_data(request, false);
        loop_lock(loop);
        if (request->status == EAGAIN)
            start_job(request);
        else
            finish(request);
    }
}

static void handle(void *device, struct virtio_chain *chain)
{
    struct virtio_scsi *scsi = device;
    struct scsi_request *request = (struct scsi_request *)chain;
    struct scsi_command *command = &request->command;
    const uint8_t *config = scsi->virtio.config;
    uint64_t header = REQUEST_CDB + (uint64_t)virtio_le32(config + CONFIG_CDB_SIZE);
    uint8_t bytes[REQUEST_CDB];
    enum response response;
    request->header = header;
    request->sense_size = virtio_le32(config + CONFIG_SENSE_SIZE);
    request->response = RESPONSE_SENSE + (uint64_t)request->sense_size;
    if (chain->out_bytes < header || chain->in_bytes < request->response) {
        virtio_broken(&scsi->virtio, "a request of %llu and %llu bytes",
                      (unsigned long long)chain->out_bytes, (unsigned long long)chain->in_bytes);
        virtqueue_drop(chain);
        return;
    }
    virtio_read(chain, 0, bytes, sizeof bytes);
    request->scsi = scsi;
    request->target = find_target(scsi, bytes, &response);
    command->status = SCSI_GOOD;
    command->length = 0;
    if (!request->target) {
        respond(request, response, 0);
        return;
    }
    memset(command->cdb, 0, sizeof command->cdb);
    virtio_read(chain, REQUEST_CDB, command->cdb,
                header - REQUEST_CDB < sizeof command->cdb ? (size_t)header - REQUEST_CDB
                                                           : sizeof command->cdb);
    command->data_length = chain->out_bytes - header;
    command->parameters = request->parameters;
    command->parameter_length =
        virtio_read(chain, header, request->parameters, sizeof request->parameters);
    scsi_execute(&request->target->unit, command);
    start(request);
}

static void work(void *opaque)
{
    struct virtio_scsi *scsi = opaque;
    for (unsigned i = 0; i < scsi->virtio.queues; i++) {
        struct virtqueue *queue = &scsi->virtio.queue[i];
        if (!queue->kicked)
            continue;
        queue->kicked = false;
        if (i == QUEUE_CONTROL)
            serve_control(scsi, queue);
        else if (i >= QUEUE_REQUEST)
            virtqueue_serve(queue, handle, scsi);
    }
}

/* -- Media -- */

static struct scsi_unit *find_cdrom(struct virtio_scsi *scsi, unsigned target, struct error *error)
{
    if (target < VIRTIO_SCSI_TARGETS && scsi->target[target].present &&
        scsi->target[target].unit.cdrom)
        return &scsi->target[target].unit;
    error_set(error, "SCSI target %u is no CD-ROM drive", target);
    return NULL;
}

bool virtio_scsi_insert(struct virtio_scsi *scsi, unsigned target, struct image *image,
                        struct error *error)
{
    struct scsi_unit *unit = find_cdrom(scsi, target, error);
    if (!unit)
        return false;
    if (unit->image)
        return error_set(error, "A medium lies in the CD-ROM drive; eject '%s' first",
                         image_path(unit->image));
    scsi_change_medium(unit, image);
    return true;
}

bool virtio_scsi_eject(struct virtio_scsi *scsi, unsigned target, bool force, struct image **old,
                       struct error *error)
{
    struct scsi_unit *unit = find_cdrom(scsi, target, error);
    if (!unit)
        return false;
    if (unit->locked && !force) {
        scsi_request_eject(unit);
        return error_set(error, "The guest has locked its CD-ROM drive and was asked to release "
                                "it; eject the medium in the guest, or try again with force");
    }
    loop_drain(scsi->virtio.loop);
    *old = unit->image;
    scsi_change_medium(unit, NULL);
    return true;
}

/* -- Life -- */

static void scsi_reset(struct virtio *virtio)
{
    struct virtio_scsi *scsi = (struct virtio_scsi *)virtio;
    for (unsigned i = 0; i < VIRTIO_SCSI_TARGETS; i++)
        scsi_unit_reset(&scsi->target[i].unit);
}

static bool scsi_post_load(struct virtio *virtio, struct error *error)
{
    struct virtio_scsi *scsi = (struct virtio_scsi *)virtio;
    for (unsigned i = 0; i < VIRTIO_SCSI_TARGETS; i++)
        scsi->target[i].unit.tray_open &= scsi->target[i].unit.cdrom;
    return true;
}

static void virtio_scsi_destroy(struct device *device)
{
    virtio_fini((struct virtio *)device);
    free(device);
}

static const struct device_ops virtio_scsi_device_ops = {
    .name = "virtio-scsi",
    .fields = virtio_scsi_fields,
    .version = 1,
    .reset = virtio_device_reset,
    .post_load = virtio_device_post_load,
    .destroy = virtio_scsi_destroy,
};

static const struct virtio_ops virtio_scsi_ops = {
    .type = VIRTIO_SCSI,
    .class_code = 0x0100,
    .kick = virtio_wake_worker,
    .reset = scsi_reset,
    .post_load = scsi_post_load,
};

void virtio_scsi_attach(struct virtio_scsi *scsi, unsigned target, struct image *image, bool cdrom)
{
    struct scsi_target *place = &scsi->target[target];
    place->present = true;
    place->unit.image = image;
    place->unit.cdrom = cdrom;
    place->unit.tray_open = cdrom && !image;
    snprintf(place->unit.serial, sizeof place->unit.serial, "DS-%05u", target);
    scsi_unit_reset(&place->unit);
}

struct virtio_scsi *virtio_scsi_new(const struct virtio_place *place, struct memory *memory,
                                    unsigned queues, _Atomic uint64_t *activity)
{
    struct virtio_scsi *scsi = alloc_zeroed(sizeof *scsi);
    uint8_t config[CONFIG_SIZE] = {0};
    scsi->activity = activity;
    virtio_init(&scsi->virtio, place, memory, &virtio_scsi_device_ops, &virtio_scsi_ops, 0,
                sizeof(struct scsi_request), work);
    if (queues > QUEUES_MAX)
        queues = QUEUES_MAX;
    virtio_add_queue(&scsi->virtio, CONTROL_SIZE);
    virtio_add_queue(&scsi->virtio, CONTROL_SIZE);
    for (unsigned i = 0; i < queues; i++)
        virtio_add_queue(&scsi->virtio, QUEUE_SIZE);
    virtio_put(config + CONFIG_QUEUES, queues, 4);
    virtio_put(config + CONFIG_SEG_MAX, SEGMENTS, 4);
    virtio_put(config + CONFIG_MAX_SECTORS, 0xffff, 4);
    virtio_put(config + CONFIG_PER_LUN, 128, 4);
    virtio_put(config + CONFIG_EVENT_SIZE, 16, 4);
    virtio_put(config + CONFIG_SENSE_SIZE, SENSE_SIZE, 4);
    virtio_put(config + CONFIG_CDB_SIZE, CDB_SIZE, 4);
    virtio_put(config + CONFIG_MAX_TARGET, VIRTIO_SCSI_TARGETS - 1, 2);
    virtio_set_config(&scsi->virtio, config, sizeof config);
    memset(scsi->virtio.config_mask + CONFIG_SENSE_SIZE, 0xff, 8);
    return scsi;
}
