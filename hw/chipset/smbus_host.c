/*
 * SMBus host controller (Intel 290562, section 7.3; 316972, section 18.2).
 *
 *     0 HST_STS  2 HST_CNT  3 HST_CMD  4 XMIT_SLVA  5, 6 HST_D0, HST_D1  7 HOST_BLOCK_DB
 *     8 PEC (ICH) or slave control (PIIX4)  C AUX_STS  D AUX_CTL  (both ICH)
 *
 * Nobody acknowledges an address, so each transfer ends before it can be seen busy. Not modelled:
 * devices, the slave side.
 */
#include "hw/chipset/smbus_host.h"

#include <string.h>

#define HST_STS       0x00
#define SLV_STS       0x01
#define HST_CNT       0x02
#define HST_CMD       0x03
#define HST_D1        0x06
#define HOST_BLOCK_DB 0x07
#define PEC           0x08
#define SLV_EVENT_END 0x0b
#define AUX_STS       0x0c
#define AUX_CTL       0x0d

#define STS_DEV_ERR   0x04
#define STS_EVENTS    0x1e
#define STS_INUSE     0x40 /* a semaphore: set by reading, cleared by writing 1 */
#define STS_BYTE_DONE 0x80
#define CNT_INTEREN   0x01
#define CNT_START     0x40
#define CNT_STORED    0x1d
#define CNT_PEC       0x80
#define AUX_CTL_BITS  0x03

const struct field smbus_host_fields[] = {
    FIELD_ARRAY(struct smbus_host, reg, 1),
    FIELD_ARRAY(struct smbus_host, block, 1),
    FIELD(struct smbus_host, block_index, 1),
    FIELD_END,
};

bool smbus_wants_irq(const struct smbus_host *smbus)
{
    return (smbus->reg[HST_STS] & STS_EVENTS) && (smbus->reg[HST_CNT] & CNT_INTEREN);
}

uint8_t smbus_read(struct smbus_host *smbus, unsigned offset)
{
    uint8_t value = smbus->reg[offset];

    if (offset == HST_CNT)
        smbus->block_index = 0;
    if (offset == HST_STS && smbus->ich)
        smbus->reg[HST_STS] |= STS_INUSE;
    if (offset == HOST_BLOCK_DB) {
        value = smbus->block[smbus->block_index];
        smbus->block_index = (smbus->block_index + 1) % sizeof smbus->block;
    }
    return value;
}

void smbus_write(struct smbus_host *smbus, unsigned offset, uint8_t value)
{
    uint8_t clears = STS_EVENTS | (smbus->ich ? STS_INUSE | STS_BYTE_DONE : 0);

    switch (offset) {
    case HST_STS:
        smbus->reg[offset] &= (uint8_t) ~(value & clears);
        return;
    case HST_CNT:
        smbus->reg[offset] = value & (CNT_STORED | (smbus->ich ? CNT_PEC : 0));
        if (value & CNT_START)
            smbus->reg[HST_STS] |= STS_DEV_ERR;
        return;
    case HOST_BLOCK_DB:
        smbus->block[smbus->block_index] = value;
        smbus->block_index = (smbus->block_index + 1) % sizeof smbus->block;
        return;
    case AUX_CTL:
        if (smbus->ich)
            smbus->reg[offset] = value & AUX_CTL_BITS;
        return;
    default:
        break;
    }
    /* Slave status never shows an event, and slave data is read-only. */
    if ((offset >= HST_CMD && offset <= HST_D1) ||
        (offset >= PEC && offset <= (smbus->ich ? PEC : SLV_EVENT_END)))
        smbus->reg[offset] = value;
    else if (offset != SLV_STS && offset != AUX_STS)
        log_guest("SMBus: write to register %02x, which is read-only or not modelled", offset);
}

void smbus_reset(struct smbus_host *smbus)
{
    memset(smbus->reg, 0, sizeof smbus->reg);
    memset(smbus->block, 0, sizeof smbus->block);
    smbus->block_index = 0;
}

bool smbus_post_load(struct smbus_host *smbus, struct error *error)
{
    if (smbus->block_index >= sizeof smbus->block)
        return error_set(error, "the saved SMBus controller has a block index of %u",
                         smbus->block_index);
    return true;
}
