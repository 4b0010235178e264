/*
 * What USB keyboards and pointers have in common: one interface, one interrupt endpoint, reports
 * (Device Class Definition for Human Interface Devices 1.11).
 *
 * Locking: board lock.
 */
#ifndef DOPPEL_HW_USB_USB_HID_H
#define DOPPEL_HW_USB_USB_HID_H

#include "hw/clock.h"
#include "hw/usb/usb.h"

#define USB_HID_REPORT_MAX 8
#define USB_HID_ENDPOINT   0x81

struct usb_hid;

struct usb_hid_ops {
    const uint8_t *report_descriptor;
    uint16_t report_descriptor_length;
    uint8_t report_length;
    bool boot; /* has the boot protocol (whose report is the same) */
    /* Fills `report` with the next one; false if nothing has happened since the last. */
    bool (*next)(struct usb_hid *hid, uint8_t *report);
    /* The host sent an output report. May be NULL. */
    void (*output)(struct usb_hid *hid, const uint8_t *report, unsigned length);
    /* Forgets what has happened. */
    void (*restart)(struct usb_hid *hid);
    /* A driver has come or gone. */
    void (*configured)(struct usb_hid *hid, bool configured);
};

struct usb_hid {
    struct usb_device usb;
    uint8_t idle; /* repeat the last report after that many 4 ms; 0: never */
    uint8_t protocol;
    uint8_t report[USB_HID_REPORT_MAX]; /* the last one sent */
    bool repeat;                        /* the idle time is over */
    struct timer timer;
    const struct usb_hid_ops *ops;
};

extern const struct field usb_hid_fields[];

/* A HID class interface with the endpoint, as it stands in configurations. `packet` and `interval`
 * are the endpoint's; interval in ms at full speed, 2^(n-1) * 125 us at high speed. */
#define USB_HID_CONFIGURATION(subclass, protocol, report_bytes, packet, interval)                  \
    9, USB_CONFIGURATION_DESCRIPTOR, USB_U16(34), 1, 1, 0, 0xa0, 50, /* wakes the host; 100 mA */  \
        9, USB_INTERFACE_DESCRIPTOR, 0, 0, 1, 3, subclass, protocol, 0, 9, 0x21, USB_U16(0x111),   \
        0, 1, 0x22, USB_U16(report_bytes), 7, USB_ENDPOINT_DESCRIPTOR, USB_HID_ENDPOINT, 3,        \
        USB_U16(packet), interval

/* For constructors: instead of usb_device_init. `usb_ops` are those of usb_hid_device_ops with a
 * description. */
void usb_hid_init(struct usb_hid *hid, const struct usb_device_ops *usb_ops,
                  const struct usb_hid_ops *ops, struct clock *clock);
/* Something has happened: the host gets a report. */
void usb_hid_changed(struct usb_hid *hid);

/* For the tables of devices. */
bool usb_hid_request(struct usb_device *usb, const struct usb_setup *setup, uint8_t *data,
                     unsigned *length);
enum usb_result usb_hid_transfer(struct usb_device *usb, struct usb_transfer *transfer);
void usb_hid_restart(struct usb_device *usb);
void usb_hid_configured(struct usb_device *usb);
void usb_hid_reset(struct device *device);
bool usb_hid_post_load(struct device *device, struct error *error);
void usb_hid_destroy(struct device *device);

#endif
