/*
 * HID class (Device Class Definition for Human Interface Devices 1.11): requests on endpoint 0
 * (section 7), reports on the interrupt endpoint, the idle rate (7.2.4).
 *
 * Not modelled: feature reports, report identifiers; no device here has them.
 */
#include "hw/usb/usb_hid.h"

#include <stdlib.h>
#include <string.h>

enum {
    GET_REPORT = 1,
    GET_IDLE = 2,
    GET_PROTOCOL = 3,
    SET_REPORT = 9,
    SET_IDLE = 10,
    SET_PROTOCOL = 11,
    GET_DESCRIPTOR = 6, /* of the interface */
};
enum { HID_DESCRIPTOR = 0x21, REPORT_DESCRIPTOR = 0x22 };
enum { REPORT_INPUT = 1, REPORT_OUTPUT = 2 };
enum { BOOT_PROTOCOL = 0, REPORT_PROTOCOL = 1 };
#define IDLE_UNIT_NS       4000000ull
#define HID_DESCRIPTOR_AT  18 /* in the configuration */
#define HID_DESCRIPTOR_LEN 9
#define KIND_MASK          0x60

const struct field usb_hid_fields[] = {
    FIELD_STRUCT(struct usb_hid, usb, usb_device_fields, 1),
    FIELD(struct usb_hid, idle, 1),
    FIELD(struct usb_hid, protocol, 1),
    FIELD_ARRAY(struct usb_hid, report, 1),
    FIELD(struct usb_hid, repeat, 1),
    FIELD(struct usb_hid, timer.deadline_ns, 1),
    FIELD_END,
};

/* -- Reports -- */

static void wait_idle(struct usb_hid *hid)
{
    hid->repeat = false;
    if (hid->idle && hid->usb.configuration)
        timer_set(&hid->timer, clock_now(hid->timer.clock) + hid->idle * IDLE_UNIT_NS);
    else
        timer_cancel(&hid->timer);
}

static void idle_over(void *opaque)
{
    struct usb_hid *hid = opaque;

    hid->repeat = true;
    usb_ready(&hid->usb, USB_HID_ENDPOINT);
}

void usb_hid_changed(struct usb_hid *hid)
{
    if (hid->usb.suspended)
        usb_wake(&hid->usb);
    else
        usb_ready(&hid->usb, USB_HID_ENDPOINT);
}

enum usb_result usb_hid_transfer(struct usb_device *usb, struct usb_transfer *transfer)
{
    struct usb_hid *hid = (struct usb_hid *)usb;
    unsigned length = hid->ops->report_length;

    if (transfer->length < length)
        return USB_BABBLE;
    if (!hid->ops->next(hid, hid->report) && !hid->repeat)
        return USB_NAK;
    memcpy(transfer->data, hid->report, length);
    transfer->actual = length;
    transfer->short_packet = length < usb_packet_size(usb, USB_HID_ENDPOINT);
    wait_idle(hid);
    return USB_OK;
}

/* -- Requests -- */

static bool get_descriptor(struct usb_hid *hid, const struct usb_setup *setup, uint8_t *data,
                           unsigned *length)
{
    const uint8_t *configuration = hid->usb.ops->description->configuration[hid->usb.speed];

    switch (setup->value >> 8) {
    case HID_DESCRIPTOR:
        *length = HID_DESCRIPTOR_LEN;
        memcpy(data, configuration + HID_DESCRIPTOR_AT, *length);
        return true;
    case REPORT_DESCRIPTOR:
        *length = hid->ops->report_descriptor_length;
        memcpy(data, hid->ops->report_descriptor, *length);
        return true;
    }
    return false;
}

static bool set_report(struct usb_hid *hid, const struct usb_setup *setup, const uint8_t *data)
{
    if (setup->value >> 8 != REPORT_OUTPUT || !hid->ops->output)
        return false;
    hid->ops->output(hid, data, setup->length);
    return true;
}

bool usb_hid_request(struct usb_device *usb, const struct usb_setup *setup, uint8_t *data,
                     unsigned *length)
{
    struct usb_hid *hid = (struct usb_hid *)usb;

    if ((setup->type & 0x1f) != USB_TO_INTERFACE)
        return false;
    if ((setup->type & KIND_MASK) == 0)
        return setup->request == GET_DESCRIPTOR && get_descriptor(hid, setup, data, length);
    if ((setup->type & KIND_MASK) != USB_TYPE_CLASS)
        return false;
    switch (setup->request) {
    case GET_REPORT:
        *length = hid->ops->report_length;
        memcpy(data, hid->report, *length);
        return setup->value >> 8 == REPORT_INPUT;
    case SET_REPORT:
        return set_report(hid, setup, data);
    case GET_IDLE:
        data[0] = hid->idle;
        *length = 1;
        return true;
    case SET_IDLE:
        hid->idle = (uint8_t)(setup->value >> 8);
        wait_idle(hid);
        return true;
    case GET_PROTOCOL:
        data[0] = hid->protocol;
        *length = 1;
        return hid->ops->boot;
    case SET_PROTOCOL:
        hid->protocol = setup->value & 1;
        return hid->ops->boot;
    }
    return false;
}

/* -- Life -- */

void usb_hid_restart(struct usb_device *usb)
{
    struct usb_hid *hid = (struct usb_hid *)usb;

    hid->idle = 0;
    hid->protocol = REPORT_PROTOCOL;
    memset(hid->report, 0, sizeof hid->report);
    hid->ops->restart(hid);
    wait_idle(hid);
}

void usb_hid_configured(struct usb_device *usb)
{
    struct usb_hid *hid = (struct usb_hid *)usb;

    hid->ops->configured(hid, usb->configuration != 0);
}

void usb_hid_reset(struct device *device)
{
    usb_device_power_on((struct usb_device *)device);
}

bool usb_hid_post_load(struct device *device, struct error *error)
{
    struct usb_hid *hid = (struct usb_hid *)device;

    if (hid->protocol > REPORT_PROTOCOL)
        return error_set(error, "The saved state of USB device '%s' is damaged", device->id);
    timer_rearm(&hid->timer);
    return usb_device_post_load(&hid->usb, error);
}

void usb_hid_destroy(struct device *device)
{
    timer_cancel(&((struct usb_hid *)device)->timer);
    free(device);
}

void usb_hid_init(struct usb_hid *hid, const struct usb_device_ops *usb_ops,
                  const struct usb_hid_ops *ops, struct clock *clock)
{
    usb_device_init(&hid->usb, usb_ops);
    hid->ops = ops;
    hid->protocol = REPORT_PROTOCOL;
    timer_init(&hid->timer, clock, idle_over, hid);
}
