/*
 * AHCI inside: registers and ports (ahci.c), command lists, FISes and data (ahci_command.c).
 */
#ifndef DOPPEL_HW_STORAGE_AHCI_INTERNAL_H
#define DOPPEL_HW_STORAGE_AHCI_INTERNAL_H

#include "hw/storage/ahci.h"
#include "hw/storage/ata.h"

#define AHCI_SLOTS     32
#define DESCRIPTOR_MAX 0x400000u /* bytes that one physical region descriptor covers */

/* Port interrupt status and enable, PxIS and PxIE (AHCI 1.3.1, 3.3.5). */
#define PXIS_DHRS 0x00000001u /* register FIS from the device */
#define PXIS_PSS  0x00000002u /* PIO setup FIS */
#define PXIS_SDBS 0x00000008u /* set device bits FIS */
#define PXIS_DPS  0x00000020u /* a descriptor with its interrupt bit was used up */
#define PXIS_PCS  0x00000040u /* port connect change; follows PxSERR.DIAG.X */
#define PXIS_PRCS 0x00400000u /* PhyRdy change; follows PxSERR.DIAG.N */
#define PXIS_OFS  0x01000000u /* the device moves more than the descriptors hold */
#define PXIS_HBFS 0x20000000u /* the command list or data lie outside of memory */
#define PXIS_TFES 0x40000000u /* the task file says ERR */
#define PXIS_ALL  0xfdc000ffu

/* Port command and status, PxCMD (3.3.7). */
#define PXCMD_ST    0x00000001u
#define PXCMD_SUD   0x00000002u
#define PXCMD_POD   0x00000004u
#define PXCMD_CLO   0x00000008u
#define PXCMD_FRE   0x00000010u
#define PXCMD_CCS   0x00001f00u
#define PXCMD_FR    0x00004000u
#define PXCMD_CR    0x00008000u
#define PXCMD_ATAPI 0x01000000u
#define PXCMD_DLAE  0x02000000u
#define PXCMD_ICC   0xf0000000u

/* Where a command's data stand: the physical region descriptors of its table (4.2.3.3). */
struct ahci_cursor {
    uint64_t next;    /* address of the descriptor to fetch next */
    uint32_t entries; /* not yet fetched */
    uint64_t address; /* of the current descriptor's rest */
    uint32_t left;    /* bytes of the current descriptor */
    bool interrupt;   /* the current descriptor has its interrupt bit set */
    uint32_t moved;   /* bytes of the command so far */
};

/* A queued command (READ or WRITE FPDMA QUEUED) at a worker. Not saved: none runs then. */
struct ahci_queued {
    struct ahci_port *port;
    uint8_t tag;
    bool active;
    bool write, force_unit;
    bool overrun, bad_address; /* what failed, besides `status` */
    bool interrupt;            /* a descriptor asked for one */
    uint64_t lba;
    uint32_t sectors;
    struct ahci_cursor cursor;
    int status; /* 0 or an errno value */
};

struct ahci_port {
    struct ahci *ahci;
    uint8_t index;
    struct ata_channel ata; /* one drive, unit 0 */

    uint32_t clb, clbu, fb, fbu, is, ie, cmd, tfd, sig, ssts, sctl, serr, sact, ci;
    bool halted;    /* after an error nothing is started until PxCMD.ST is cleared */
    bool executing; /* a command that is not queued is in progress in slot `slot` */
    uint8_t slot;
    bool irq_wanted; /* the drive raised INTRQ since the phase began */
    struct ahci_cursor cursor;

    bool serving; /* not saved: guards against entering the service loop from inside */
    struct ahci_queued queued[AHCI_SLOTS];
};

struct ahci {
    struct pci_device pci;
    struct ahci_port port[AHCI_PORTS];
    uint32_t ghc, is;
    struct loop *loop;
    _Atomic uint64_t *activity; /* counts sectors moved, for whoever shows a light */
};

/* -- ahci.c -- */

/* Raises bits of PxIS and with them, if enabled, the adapter's interrupt. */
void ahci_raise(struct ahci_port *port, uint32_t bits);
static inline struct ata_drive *ahci_drive(struct ahci_port *port)
{
    return &port->ata.drive[0];
}
static inline bool ahci_present(struct ahci_port *port)
{
    return ahci_drive(port)->ops != NULL;
}

/* -- ahci_command.c -- */

/* Starts what PxCI asks for and moves what is in progress on, as far as it goes without waiting. */
void ahci_serve(struct ahci_port *port);
/* The port's ata_channel calls these. */
void ahci_drive_irq(void *port, int number, bool level);
void ahci_drive_dma(void *port);
/* Sends the register FIS that tells what the drive is, after a reset. */
void ahci_send_signature(struct ahci_port *port);
/* Waits until no worker has a job of the port. Board lock held, released while waiting. */
void ahci_quiesce(struct ahci_port *port);

#endif
