/*
 * USB tablet (HID 1.11, HID Usage Tables 1.12): a mouse whose X and Y are absolute, which is what
 * operating systems take for a tablet or touch screen without a pen.
 *
 *     byte 0    buttons: left, right, middle, two at the side
 *     1, 2      X, 0 (left) to 32767
 *     3, 4      Y, 0 (top) to 32767
 *     5         wheel, away from the user
 *
 * Positions that the host has not fetched are replaced by newer ones; a change of buttons never is.
 */
#include "hw/usb/usb_tablet.h"
#include "hw/alloc.h"
#include "hw/usb/usb_hid.h"

#include <string.h>

#define BUTTONS       5
#define REPORT_LENGTH 6
#define QUEUE_SIZE    16
#define WHEEL_MAX     127

struct sample {
    uint16_t x, y;
    int16_t wheel;
    uint8_t buttons;
};

struct usb_tablet {
    struct usb_hid hid;
    struct sample last; /* as reported; its wheel is 0 */
    struct sample queue[QUEUE_SIZE];
    uint8_t count;
    struct input_routes *routes;
    struct pointer_route route;
};

static const struct field sample_fields[] = {
    FIELD(struct sample, x, 1),
    FIELD(struct sample, y, 1),
    FIELD(struct sample, wheel, 1),
    FIELD(struct sample, buttons, 1),
    FIELD_END,
};

static const struct field usb_tablet_fields[] = {
    FIELD_STRUCT(struct usb_tablet, hid, usb_hid_fields, 1),
    FIELD_STRUCT(struct usb_tablet, last, sample_fields, 1),
    FIELD_STRUCTS(struct usb_tablet, queue, sample_fields, 1),
    FIELD(struct usb_tablet, count, 1),
    FIELD_END,
};

static const uint8_t report_descriptor[] = {
    0x05, 0x01,                                   /* Usage Page (Generic Desktop) */
    0x09, 0x02,                                   /* Usage (Mouse) */
    0xa1, 0x01,                                   /* Collection (Application) */
    0x09, 0x01,                                   /*   Usage (Pointer) */
    0xa1, 0x00,                                   /*   Collection (Physical) */
    0x05, 0x09,                                   /*     Usage Page (Button) */
    0x19, 0x01,    0x29, BUTTONS,                 /*     Usages 1 to 5 */
    0x15, 0x00,    0x25, 0x01,                    /*     0 to 1 */
    0x95, BUTTONS, 0x75, 0x01,                    /*     5 fields of 1 bit */
    0x81, 0x02,                                   /*     Input (variable, absolute) */
    0x95, 0x01,    0x75, 8 - BUTTONS, 0x81, 0x01, /*     Input (constant) */
    0x05, 0x01,                                   /*     Usage Page (Generic Desktop) */
    0x09, 0x30,    0x09, 0x31,                    /*     Usages X, Y */
    0x15, 0x00,    0x26, 0xff,        0x7f,       /*     0 to 32767 */
    0x35, 0x00,    0x46, 0xff,        0x7f,       /*     the same as physical values */
    0x75, 0x10,    0x95, 0x02,                    /*     2 fields of 16 bits */
    0x81, 0x02,                                   /*     Input (variable, absolute) */
    0x09, 0x38,                                   /*     Usage (Wheel) */
    0x15, 0x81,    0x25, 0x7f,                    /*     -127 to 127 */
    0x35, 0x00,    0x45, 0x00,                    /*     without physical values */
    0x75, 0x08,    0x95, 0x01,                    /*     1 field of 8 bits */
    0x81, 0x06,                                   /*     Input (variable, relative) */
    0xc0, 0xc0,
};

static const uint8_t full_speed[] = {USB_HID_CONFIGURATION(0, 0, sizeof report_descriptor, 8, 8)};
static const uint8_t high_speed[] = {
    USB_HID_CONFIGURATION(0, 0, sizeof report_descriptor, 8, 6)}; /* 4 ms */

static const struct usb_description description = {
    .vendor = 0x0627, /* the numbers by which desktops know the tablet of a virtual machine */
    .product = 0x0001,
    .release = 0x0100,
    .manufacturer = "doppel",
    .name = "USB Tablet",
    .configuration = {[USB_FULL] = full_speed, [USB_HIGH] = high_speed},
};

/* -- What happens to the pointer -- */

static struct sample *newest(struct usb_tablet *tablet)
{
    return tablet->count ? &tablet->queue[tablet->count - 1] : &tablet->last;
}

static int16_t limit_wheel(int wheel)
{
    return (int16_t)(wheel < -WHEEL_MAX ? -WHEEL_MAX : wheel > WHEEL_MAX ? WHEEL_MAX : wheel);
}

static void position_event(void *opaque, unsigned x, unsigned y, int wheel, unsigned buttons)
{
    struct usb_tablet *tablet = opaque;
    struct sample *last = newest(tablet);
    struct sample sample = {(uint16_t)(x < INPUT_POSITION_MAX ? x : INPUT_POSITION_MAX),
                            (uint16_t)(y < INPUT_POSITION_MAX ? y : INPUT_POSITION_MAX),
                            limit_wheel(wheel), (uint8_t)(buttons & ((1 << BUTTONS) - 1))};

    if (sample.x == last->x && sample.y == last->y && !sample.wheel &&
        sample.buttons == last->buttons)
        return;
    bool replace =
        tablet->count && (last->buttons == sample.buttons || tablet->count == QUEUE_SIZE);
    if (replace)
        sample.wheel = limit_wheel(sample.wheel + last->wheel);
    else
        tablet->count++;
    *newest(tablet) = sample;
    usb_hid_changed(&tablet->hid);
}

static bool next_report(struct usb_hid *hid, uint8_t *report)
{
    struct usb_tablet *tablet = (struct usb_tablet *)hid;
    struct sample *next = &tablet->queue[0];

    report[5] = 0; /* a repeated report moves no wheel */
    if (!tablet->count)
        return false;
    report[0] = next->buttons;
    report[1] = (uint8_t)next->x;
    report[2] = (uint8_t)(next->x >> 8);
    report[3] = (uint8_t)next->y;
    report[4] = (uint8_t)(next->y >> 8);
    report[5] = (uint8_t)next->wheel;
    tablet->last = *next;
    tablet->last.wheel = 0;
    memmove(tablet->queue, tablet->queue + 1, --tablet->count * sizeof *tablet->queue);
    return true;
}

static void restart(struct usb_hid *hid)
{
    struct usb_tablet *tablet = (struct usb_tablet *)hid;

    tablet->last = (struct sample){0};
    tablet->count = 0;
}

static void configured(struct usb_hid *hid, bool configured)
{
    struct usb_tablet *tablet = (struct usb_tablet *)hid;

    input_routes_use_pointer(tablet->routes, &tablet->route, configured);
}

static const struct usb_hid_ops hid_ops = {
    .report_descriptor = report_descriptor,
    .report_descriptor_length = sizeof report_descriptor,
    .report_length = REPORT_LENGTH,
    .next = next_report,
    .restart = restart,
    .configured = configured,
};

/* -- Life -- */

static const struct usb_device_ops usb_ops = {
    .description = &description,
    .request = usb_hid_request,
    .transfer = usb_hid_transfer,
    .restart = usb_hid_restart,
    .configured = usb_hid_configured,
};

static bool usb_tablet_post_load(struct device *device, struct error *error)
{
    struct usb_tablet *tablet = (struct usb_tablet *)device;

    if (tablet->count > QUEUE_SIZE)
        return error_set(error, "The saved state of USB device '%s' is damaged", device->id);
    return usb_hid_post_load(device, error);
}

static const struct device_ops usb_tablet_ops = {
    .name = "usb-tablet",
    .fields = usb_tablet_fields,
    .version = 1,
    .reset = usb_hid_reset,
    .post_load = usb_tablet_post_load,
    .destroy = usb_hid_destroy,
};

struct usb_device *usb_tablet_new(struct device_list *list, struct clock *clock,
                                  struct input_routes *routes, const char *id)
{
    struct usb_tablet *tablet = alloc_zeroed(sizeof *tablet);

    usb_hid_init(&tablet->hid, &usb_ops, &hid_ops, clock);
    tablet->routes = routes;
    tablet->route = (struct pointer_route){.position = position_event, .device = tablet};
    device_add(list, &tablet->hid.usb.device, &usb_tablet_ops, id);
    return &tablet->hid.usb;
}
