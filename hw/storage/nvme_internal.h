/*
 * NVMe inside: registers and queues (nvme.c), admin commands (nvme_admin.c), reads and writes
 * (nvme_io.c). Numbers in parentheses are sections of NVM Express 1.4.
 */
#ifndef DOPPEL_HW_STORAGE_NVME_INTERNAL_H
#define DOPPEL_HW_STORAGE_NVME_INTERNAL_H

#include "hw/pci_msi.h"
#include "hw/storage/nvme.h"

#define NVME_IO_QUEUES     16
#define NVME_QUEUES        (NVME_IO_QUEUES + 1) /* with the admin queue */
#define NVME_QUEUE_ENTRIES 1024
#define NVME_REQUESTS      64 /* at the workers at one time */
#define NVME_EVENTS        4  /* asynchronous event requests that can wait */
#define NVME_PAGE          4096u
#define NVME_MDTS          7 /* most data of one command: 2^7 pages */
#define NVME_TRANSFER_MAX  (NVME_PAGE << NVME_MDTS)

/* Status codes (4.6.1): type << 8 | code. */
enum nvme_status {
    NVME_SUCCESS = 0x000,
    NVME_INVALID_OPCODE = 0x001,
    NVME_INVALID_FIELD = 0x002,
    NVME_TRANSFER_ERROR = 0x004,
    NVME_INTERNAL_ERROR = 0x006,
    NVME_INVALID_NAMESPACE = 0x00b,
    NVME_PRP_OFFSET = 0x013,
    NVME_LBA_RANGE = 0x080,
    NVME_INVALID_CQ = 0x100,
    NVME_INVALID_QID = 0x101,
    NVME_INVALID_QUEUE_SIZE = 0x102,
    NVME_EVENT_LIMIT = 0x105,
    NVME_INVALID_VECTOR = 0x108,
    NVME_INVALID_LOG = 0x109,
    NVME_INVALID_QUEUE_DELETION = 0x10c,
    NVME_NOT_SAVEABLE = 0x10d,
    NVME_READ_ONLY = 0x182,
    NVME_WRITE_FAULT = 0x280,
    NVME_READ_ERROR = 0x281,
    NVME_COMPARE_FAILURE = 0x285,
    NVME_DO_NOT_RETRY = 0x4000, /* or-ed in */
    NVME_NO_COMPLETION = 0xffff /* not a status: the command ends later */
};

/* A submission queue entry (4.2). */
struct nvme_command {
    uint8_t opcode;
    uint8_t flags; /* fused operation, PRP or SGL */
    uint16_t cid;
    uint32_t nsid;
    uint32_t dword2, dword3;
    uint64_t metadata;
    uint64_t prp1, prp2;
    uint32_t dword10, dword11, dword12, dword13, dword14, dword15;
};

struct nvme_sq {
    bool created;
    uint64_t base;
    uint16_t entries; /* number less one is the last index */
    uint16_t head, tail;
    uint16_t cq;
};

struct nvme_cq {
    bool created, interrupts;
    uint64_t base;
    uint16_t entries;
    uint16_t head, tail;
    uint16_t vector;
    bool phase;
    uint16_t reserved; /* entries promised to commands in progress; not saved but for AERs */
};

/* A command at a worker. */
struct nvme_request {
    struct nvme *nvme;
    bool active;
    uint16_t sq;
    struct nvme_command command;
    uint16_t status;
};

struct nvme {
    struct pci_device pci;
    struct pci_msix msix;
    uint32_t intms, cc, csts, aqa;
    uint64_t asq, acq;
    struct nvme_sq sq[NVME_QUEUES];
    struct nvme_cq cq[NVME_QUEUES];

    /* Features (5.21) and what logs tell. */
    uint32_t feature[16];
    uint16_t event_cid[NVME_EVENTS];
    uint8_t events; /* how many requests wait */
    uint64_t error_count;
    uint64_t units_read, units_written; /* 512-byte sectors */
    uint64_t reads, writes;
    uint16_t unsafe_shutdowns;

    char serial[21];
    struct image *image;
    struct loop *loop;
    struct nvme_request request[NVME_REQUESTS];
    unsigned requests; /* active ones */
    bool fetching;
    _Atomic uint64_t *activity; /* counts sectors moved, for whoever shows a light */
};

enum nvme_feature {
    FEATURE_ARBITRATION = 0x01,
    FEATURE_POWER = 0x02,
    FEATURE_TEMPERATURE = 0x04,
    FEATURE_ERROR_RECOVERY = 0x05,
    FEATURE_WRITE_CACHE = 0x06,
    FEATURE_QUEUES = 0x07,
    FEATURE_COALESCING = 0x08,
    FEATURE_VECTOR = 0x09,
    FEATURE_ATOMICITY = 0x0a,
    FEATURE_EVENTS = 0x0b,
};

/* -- nvme.c -- */

/* Moves data between `data` and the command's PRP entries (4.3). Any thread. */
enum nvme_status nvme_transfer(struct nvme *nvme, const struct nvme_command *command, void *data,
                               size_t length, bool to_guest);
/* Ends a command with a completion queue entry. The queue has a place reserved for it. */
void nvme_complete(struct nvme *nvme, unsigned sq, uint16_t cid, uint16_t status, uint32_t result);
/* Fetches and starts commands of all queues, as far as requests and completion queues have room. */
void nvme_fetch(struct nvme *nvme);
/* Waits until no worker has a request. Board lock held, released while waiting. */
void nvme_quiesce(struct nvme *nvme);

/* -- nvme_admin.c: a status, or NVME_NO_COMPLETION; *result goes into dword 0 -- */

uint16_t nvme_admin(struct nvme *nvme, const struct nvme_command *command, uint32_t *result);
/* Reports an event (5.2) of `type` and `info` to a waiting request, and `log` as its page. */
void nvme_event(struct nvme *nvme, uint8_t type, uint8_t info, uint8_t log);
void nvme_features_reset(struct nvme *nvme);

/* -- nvme_io.c -- */

/* Starts a command of an I/O queue at a worker; a status if it ends at once. */
uint16_t nvme_io(struct nvme *nvme, struct nvme_request *request);

#endif
