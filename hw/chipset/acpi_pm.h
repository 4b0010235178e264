/*
 * The fixed ACPI hardware that the chipsets have in common: PM1 event and control registers, the PM
 * timer, one block of general purpose events, and the way into and out of sleep.
 *
 * Locking: board lock.
 */
#ifndef DOPPEL_HW_CHIPSET_ACPI_PM_H
#define DOPPEL_HW_CHIPSET_ACPI_PM_H

#include "hw/chipset/requests.h"
#include "hw/clock.h"
#include "hw/device.h"

#define ACPI_PM_BYTES 12 /* PM1_STS, PM1_EN, PM1_CNT, reserved, PM_TMR */
#define ACPI_PM_GPES  64

/* Commands to the SMI port, that ACPI tables name. */
#define ACPI_PM_SMI_PORT 0xb2
#define ACPI_PM_ENABLE   0xf1
#define ACPI_PM_DISABLE  0xf0

/* SLP_TYP of S3 and S5, that the DSDTs repeat. */
struct acpi_sleep_types {
    uint8_t suspend, off;
};

/* Part of a chipset's struct. */
struct acpi_pm {
    const char *name; /* for the log */
    struct clock *clock;
    struct irq_line sci;
    struct board_requests requests;
    struct acpi_sleep_types types;
    bool other_sci; /* something else of the chipset asks for the same interrupt */

    uint16_t status, enable, control;
    struct timer overflow; /* armed while the guest wants to be told */
    uint64_t toggle_ns;    /* when bit 23 of the timer changes next, counted from the last clear */
    uint64_t gpe_status, gpe_enable;
    uint8_t apm[2];
    bool asleep;
};

extern const struct field acpi_pm_fields[];

/* Claims the SMI command port. */
void acpi_pm_init(struct acpi_pm *pm, const char *name, struct io_bus *io, struct clock *clock,
                  struct irq_line sci, const struct board_requests *requests,
                  struct acpi_sleep_types types);
void acpi_pm_reset(struct acpi_pm *pm);
bool acpi_pm_post_load(struct acpi_pm *pm, struct error *error);
void acpi_pm_destroy(struct acpi_pm *pm);

/* The first ACPI_PM_BYTES of the register block; any size and offset within. */
uint64_t acpi_pm_read(struct acpi_pm *pm, unsigned offset, unsigned size);
void acpi_pm_write(struct acpi_pm *pm, unsigned offset, uint64_t value, unsigned size);

/* A block of `bytes` event registers, the first half status. */
uint8_t acpi_pm_gpe_read(const struct acpi_pm *pm, unsigned offset, unsigned bytes);
void acpi_pm_gpe_write(struct acpi_pm *pm, unsigned offset, unsigned bytes, uint8_t value);
void acpi_pm_raise_gpe(struct acpi_pm *pm, unsigned number);

/* Brings timer overflow, its alarm and the interrupt line up to date. */
void acpi_pm_update(struct acpi_pm *pm);

/* Presses the power button. False if the guest has not asked to be told about it: then it will not
 * switch itself off. Wakes a sleeping machine. */
bool acpi_pm_power_button(struct acpi_pm *pm);
/* The RTC asserted its interrupt. */
void acpi_pm_rtc_interrupt(struct acpi_pm *pm);
/* Something else that wakes the machine: a key. */
void acpi_pm_wake(struct acpi_pm *pm);
/* The board has been reset to wake up: shows the guest why. */
void acpi_pm_woken(struct acpi_pm *pm, uint16_t status);
/* Any thread. */
bool acpi_pm_asleep(const struct acpi_pm *pm);

#endif
