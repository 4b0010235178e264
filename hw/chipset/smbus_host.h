/*
 * The SMBus host controller of PIIX4 and ICH: registers, without any device on its wires.
 *
 * Locking: board lock.
 */
#ifndef DOPPEL_HW_CHIPSET_SMBUS_HOST_H
#define DOPPEL_HW_CHIPSET_SMBUS_HOST_H

#include "hw/device.h"

#define SMBUS_REGISTERS 32

/* Part of a device's struct. */
struct smbus_host {
    bool ich; /* the ICH's registers from 0x0C up, INUSE_STS, PEC */
    uint8_t reg[SMBUS_REGISTERS];
    uint8_t block[32];
    uint8_t block_index;
};

extern const struct field smbus_host_fields[];

uint8_t smbus_read(struct smbus_host *smbus, unsigned offset);
void smbus_write(struct smbus_host *smbus, unsigned offset, uint8_t value);
/* True while an ended transfer asks for an interrupt. */
bool smbus_wants_irq(const struct smbus_host *smbus);
void smbus_reset(struct smbus_host *smbus);
bool smbus_post_load(struct smbus_host *smbus, struct error *error);

#endif
