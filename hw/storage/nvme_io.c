/*
 * NVMe commands of I/O queues (NVM Express 1.4, section 6): checked here, carried out by a worker.
 */
#include "hw/storage/nvme_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    IO_FLUSH = 0x00,
    IO_WRITE = 0x01,
    IO_READ = 0x02,
    IO_COMPARE = 0x05,
    IO_WRITE_ZEROES = 0x08,
};
#define DWORD12_FUA  0x40000000u
#define DWORD12_DEAC 0x02000000u

static uint64_t first_block(const struct nvme_command *command)
{
    return command->dword10 | (uint64_t)command->dword11 << 32;
}

static uint32_t block_count(const struct nvme_command *command)
{
    return (command->dword12 & 0xffff) + 1;
}

static bool durable(const struct nvme *nvme, const struct nvme_command *command)
{
    return (command->dword12 & DWORD12_FUA) || !(nvme->feature[FEATURE_WRITE_CACHE] & 1);
}

/* -- On a worker -- */

static uint16_t read_blocks(struct nvme *nvme, const struct nvme_command *command, uint8_t *data,
                            size_t length)
{
    if (image_read(nvme->image, first_block(command) * SECTOR_SIZE, data, length))
        return NVME_READ_ERROR;
    return nvme_transfer(nvme, command, data, length, true);
}

static uint16_t write_blocks(struct nvme *nvme, const struct nvme_command *command, uint8_t *data,
                             size_t length)
{
    uint16_t status = nvme_transfer(nvme, command, data, length, false);
    if (status)
        return status;
    if (image_write(nvme->image, first_block(command) * SECTOR_SIZE, data, length) ||
        (durable(nvme, command) && image_flush(nvme->image)))
        return NVME_WRITE_FAULT;
    return NVME_SUCCESS;
}

/* `data` has room for both sides. */
static uint16_t compare_blocks(struct nvme *nvme, const struct nvme_command *command, uint8_t *data,
                               size_t length)
{
    uint16_t status = nvme_transfer(nvme, command, data, length, false);
    if (status)
        return status;
    if (image_read(nvme->image, first_block(command) * SECTOR_SIZE, data + length, length))
        return NVME_READ_ERROR;
    return memcmp(data, data + length, length) ? NVME_COMPARE_FAILURE : NVME_SUCCESS;
}

static uint16_t write_zeroes(struct nvme *nvme, const struct nvme_command *command, uint8_t *data,
                             size_t length)
{
    bool deallocate = command->dword12 & DWORD12_DEAC;
    if (image_write_zeroes(nvme->image, first_block(command) * SECTOR_SIZE, length, deallocate) ||
        (durable(nvme, command) && image_flush(nvme->image)))
        return NVME_WRITE_FAULT;
    return NVME_SUCCESS;
}

static const struct io_command {
    uint16_t (*run)(struct nvme *nvme, const struct nvme_command *command, uint8_t *data,
                    size_t length);
    bool transfers; /* data go between guest and controller: MDTS counts */
    bool writes;
    unsigned buffers; /* of the data's length, that `run` gets as one piece */
} io_commands[] = {
    [IO_WRITE] = {write_blocks, true, true, 1},
    [IO_READ] = {read_blocks, true, false, 1},
    [IO_COMPARE] = {compare_blocks, true, false, 2},
    [IO_WRITE_ZEROES] = {write_zeroes, false, true, 0},
};
#define IO_COMMANDS (sizeof io_commands / sizeof *io_commands)

static void run_request(void *opaque)
{
    struct nvme_request *request = opaque;
    struct nvme *nvme = request->nvme;
    const struct nvme_command *command = &request->command;
    if (command->opcode == IO_FLUSH) {
        request->status = image_flush(nvme->image) ? NVME_WRITE_FAULT : NVME_SUCCESS;
        return;
    }
    const struct io_command *io = &io_commands[command->opcode];
    size_t length = (size_t)block_count(command) * SECTOR_SIZE;
    uint8_t *data = io->buffers ? malloc(length * io->buffers) : NULL;
    request->status =
        data || !io->buffers ? io->run(nvme, command, data, length) : NVME_INTERNAL_ERROR;
    free(data);
}

static void finish_request(void *opaque)
{
    struct nvme_request *request = opaque;
    struct nvme *nvme = request->nvme;
    const struct nvme_command *command = &request->command;
    uint64_t blocks = command->opcode == IO_FLUSH ? 0 : block_count(command);
    request->active = false;
    nvme->requests--;
    if (request->status == NVME_SUCCESS && command->opcode == IO_READ) {
        nvme->reads++;
        nvme->units_read += blocks;
    } else if (request->status == NVME_SUCCESS && command->opcode == IO_WRITE) {
        nvme->writes++;
        nvme->units_written += blocks;
    }
    atomic_fetch_add_explicit(nvme->activity, blocks + 1, memory_order_relaxed);
    nvme_complete(nvme, request->sq, command->cid, request->status, 0);
    nvme_fetch(nvme);
}

/* -- On the guest's side -- */

/* What can be told before anything is moved. */
static uint16_t check(const struct nvme *nvme, const struct nvme_command *command)
{
    uint64_t total = image_bytes(nvme->image) / SECTOR_SIZE;
    if (command->opcode == IO_FLUSH)
        return command->nsid == 1 || command->nsid == UINT32_MAX
                   ? NVME_SUCCESS
                   : NVME_INVALID_NAMESPACE | NVME_DO_NOT_RETRY;
    if (command->opcode >= IO_COMMANDS || !io_commands[command->opcode].run)
        return NVME_INVALID_OPCODE | NVME_DO_NOT_RETRY;
    const struct io_command *io = &io_commands[command->opcode];
    if (command->nsid != 1)
        return NVME_INVALID_NAMESPACE | NVME_DO_NOT_RETRY;
    if (first_block(command) >= total || block_count(command) > total - first_block(command))
        return NVME_LBA_RANGE | NVME_DO_NOT_RETRY;
    if (io->transfers && block_count(command) * SECTOR_SIZE > NVME_TRANSFER_MAX)
        return NVME_INVALID_FIELD | NVME_DO_NOT_RETRY;
    if (io->writes && image_read_only(nvme->image))
        return NVME_READ_ONLY | NVME_DO_NOT_RETRY;
    return NVME_SUCCESS;
}

uint16_t nvme_io(struct nvme *nvme, struct nvme_request *request)
{
    uint16_t status = check(nvme, &request->command);
    if (status)
        return status;
    request->active = true;
    nvme->requests++;
    loop_work(nvme->loop, run_request, finish_request, request);
    return NVME_NO_COMPLETION;
}
