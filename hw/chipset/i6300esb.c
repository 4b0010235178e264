/*
 * Intel 6300ESB watchdog timer (300641, chapter 16): two stages of up to 20 bits. The first stage
 * may interrupt; when the second ends, the board acts.
 *
 *     configuration 60  what the first stage does, the clock, whether the output is enabled
 *     configuration 68  lock, enable
 *     memory 00, 04     preload values, behind the unlock sequence 80, 86 at 0C
 *     memory 08         interrupt status
 *     memory 0C         reload, time-out flag
 *
 * A preload value is followed by 15 bits (about 1 ms a unit) or 5 bits (1 us) of the 33 MHz PCI
 * clock. Not modelled: SMI as the first stage, free running mode.
 */
#include "hw/chipset/i6300esb.h"

#include "hw/alloc.h"

#define CONFIG           0x60
#define CONFIG_INT_TYPE  0x0003
#define CONFIG_INT_OFF   3
#define CONFIG_INT_SMI   2
#define CONFIG_FAST      0x0004 /* 1 us instead of 1 ms */
#define CONFIG_NO_OUTPUT 0x0020
#define LOCK             0x68
#define LOCK_LOCKED      0x01
#define LOCK_ENABLE      0x02
#define LOCK_FREE        0x04

#define REG_PRELOAD1     0x00
#define REG_PRELOAD2     0x04
#define REG_INTERRUPT    0x08
#define REG_RELOAD       0x0c
#define MMIO_BYTES       16
#define UNLOCK_1         0x80
#define UNLOCK_2         0x86
#define RELOAD_RELOAD    0x0100
#define RELOAD_TIMEOUT   0x0200
#define PRELOAD_MASK     0xfffffu

#define PCI_HZ           33000000u

struct i6300esb {
    struct pci_device pci;
    uint32_t preload[2];
    uint8_t unlock; /* bytes of the sequence seen */
    uint8_t stage;
    bool interrupt;
    bool timed_out; /* survives a reset, for firmware to see */
    struct timer timer;
    struct clock *clock;
    void (*expired)(void *opaque);
    void *opaque;
};

static const struct field i6300esb_fields[] = {
    FIELD_STRUCT(struct i6300esb, pci, pci_device_fields, 1),
    FIELD_ARRAY(struct i6300esb, preload, 1),
    FIELD(struct i6300esb, unlock, 1),
    FIELD(struct i6300esb, stage, 1),
    FIELD(struct i6300esb, interrupt, 1),
    FIELD(struct i6300esb, timed_out, 1),
    FIELD(struct i6300esb, timer.deadline_ns, 1),
    FIELD_END,
};

/* -- Time -- */

static bool enabled(const struct i6300esb *watchdog)
{
    return watchdog->pci.config[LOCK] & LOCK_ENABLE;
}

static void start_stage(struct i6300esb *watchdog, unsigned stage)
{
    bool fast = watchdog->pci.config[CONFIG] & CONFIG_FAST;
    uint64_t counts = (uint64_t)watchdog->preload[stage] << (fast ? 5 : 15);

    watchdog->stage = (uint8_t)stage;
    timer_set(&watchdog->timer,
              clock_now(watchdog->clock) + clock_scale(counts, NS_PER_SECOND, PCI_HZ));
}

static void start(struct i6300esb *watchdog)
{
    if (enabled(watchdog))
        start_stage(watchdog, 0);
    else
        timer_cancel(&watchdog->timer);
}

static void stage_ended(void *opaque)
{
    struct i6300esb *watchdog = opaque;
    unsigned config = watchdog->pci.config[CONFIG];

    if (watchdog->stage == 0) {
        if ((config & CONFIG_INT_TYPE) == 0) {
            watchdog->interrupt = true;
            pci_set_irq(&watchdog->pci, true);
        } else if ((config & CONFIG_INT_TYPE) == CONFIG_INT_SMI) {
            log_guest("i6300esb: the first stage wants an SMI; there is no system management mode");
        }
        start_stage(watchdog, 1);
        return;
    }
    watchdog->timed_out = true;
    if (!(config & CONFIG_NO_OUTPUT))
        watchdog->expired(watchdog->opaque);
    else
        start(watchdog);
}

/* -- Memory registers -- */

static uint64_t i6300esb_read(void *opaque, uint64_t offset, unsigned size)
{
    const struct i6300esb *watchdog = opaque;

    switch (offset) {
    case REG_INTERRUPT:
        return watchdog->interrupt;
    case REG_RELOAD:
        return watchdog->timed_out ? RELOAD_TIMEOUT : 0;
    default:
        return 0; /* the preload values are write-only */
    }
}

static void write_reload(struct i6300esb *watchdog, uint32_t value)
{
    if (watchdog->unlock == 2) {
        watchdog->unlock = 0;
        if (value & RELOAD_TIMEOUT)
            watchdog->timed_out = false;
        if (value & RELOAD_RELOAD)
            start(watchdog);
        return;
    }
    if (value == UNLOCK_1)
        watchdog->unlock = 1;
    else
        watchdog->unlock = value == UNLOCK_2 && watchdog->unlock == 1 ? 2 : 0;
}

static void i6300esb_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct i6300esb *watchdog = opaque;

    if (offset == REG_RELOAD) {
        write_reload(watchdog, (uint32_t)value);
    } else if (offset == REG_INTERRUPT) {
        if (value & 1) {
            watchdog->interrupt = false;
            pci_set_irq(&watchdog->pci, false);
        }
    } else if ((offset == REG_PRELOAD1 || offset == REG_PRELOAD2) && size == 4) {
        if (watchdog->unlock == 2)
            watchdog->preload[offset / 4] = (uint32_t)value & PRELOAD_MASK;
        else
            log_guest("i6300esb: a preload value without the unlock sequence");
        watchdog->unlock = 0;
    } else {
        log_guest("i6300esb: %u-byte write at %02x ignored", size, (unsigned)offset);
    }
}

static const struct access_ops i6300esb_ops = {i6300esb_read, i6300esb_write, 1, 4};

/* -- Configuration -- */

static void i6300esb_config_written(struct pci_device *pci, unsigned offset, unsigned size)
{
    struct i6300esb *watchdog = (struct i6300esb *)pci;

    if (offset > LOCK || offset + size <= LOCK)
        return;
    if (pci->config[LOCK] & LOCK_FREE)
        log_guest("i6300esb: free running mode is not modelled");
    if (pci->config[LOCK] & LOCK_LOCKED)
        pci->write_mask[LOCK] = 0;
    if (enabled(watchdog) != timer_pending(&watchdog->timer))
        start(watchdog);
}

/* -- Device -- */

static void i6300esb_reset(struct device *device)
{
    struct i6300esb *watchdog = (struct i6300esb *)device;

    pci_device_reset(&watchdog->pci);
    pci_put(watchdog->pci.config, CONFIG, 0, 2);
    watchdog->pci.config[LOCK] = 0;
    watchdog->pci.write_mask[LOCK] = LOCK_LOCKED | LOCK_ENABLE | LOCK_FREE;
    watchdog->preload[0] = watchdog->preload[1] = PRELOAD_MASK;
    watchdog->unlock = watchdog->stage = 0;
    watchdog->interrupt = false;
    timer_cancel(&watchdog->timer);
}

static bool i6300esb_post_load(struct device *device, struct error *error)
{
    struct i6300esb *watchdog = (struct i6300esb *)device;

    if (watchdog->unlock > 2 || watchdog->stage > 1 || watchdog->preload[0] > PRELOAD_MASK ||
        watchdog->preload[1] > PRELOAD_MASK)
        return error_set(error, "%s: the saved watchdog state is impossible", device->id);
    if (!pci_device_post_load(&watchdog->pci, error))
        return false;
    if (watchdog->pci.config[LOCK] & LOCK_LOCKED)
        watchdog->pci.write_mask[LOCK] = 0;
    timer_rearm(&watchdog->timer);
    return true;
}

static void i6300esb_destroy(struct device *device)
{
    timer_cancel(&((struct i6300esb *)device)->timer);
    free(device);
}

static const struct device_ops i6300esb_device_ops = {
    .name = "i6300esb",
    .fields = i6300esb_fields,
    .version = 1,
    .reset = i6300esb_reset,
    .post_load = i6300esb_post_load,
    .destroy = i6300esb_destroy,
};

void i6300esb_new(struct device_list *list, struct pci_bus *bus, uint8_t devfn, struct clock *clock,
                  void (*expired)(void *opaque), void *opaque)
{
    static const struct pci_identity identity = {
        .vendor = 0x8086,
        .device = 0x25ab,
        .class_code = 0x0880,
        .subsystem_vendor = PCI_SUBSYSTEM_VENDOR_VIRTUAL,
        .subsystem = PCI_SUBSYSTEM_VIRTUAL,
        .interrupt_pin = 1,
    };
    struct i6300esb *watchdog = alloc_zeroed(sizeof *watchdog);

    watchdog->clock = clock;
    watchdog->expired = expired;
    watchdog->opaque = opaque;
    timer_init(&watchdog->timer, clock, stage_ended, watchdog);
    device_add(list, &watchdog->pci.device, &i6300esb_device_ops, "watchdog");
    pci_device_init(&watchdog->pci, bus, devfn, &identity);
    pci_put(watchdog->pci.write_mask, CONFIG, CONFIG_INT_TYPE | CONFIG_FAST | CONFIG_NO_OUTPUT, 2);
    watchdog->pci.config_written = i6300esb_config_written;
    pci_add_mmio_bar(&watchdog->pci, 0, MMIO_BYTES, &i6300esb_ops, watchdog);
    i6300esb_reset(&watchdog->pci.device);
}
