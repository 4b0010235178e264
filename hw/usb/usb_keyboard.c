/*
 * USB keyboard (HID 1.11, appendix B.1; HID Usage Tables 1.12, page 7).
 *
 *     byte 0     modifiers, usages 0xe0 to 0xe7 from bit 0 on
 *     1          reserved
 *     2 to 7     usages of the keys that are down, 0 where there are fewer
 *
 * With more than six keys down all six say so (usage 1, ErrorRollOver). Each report tells of one
 * key that went down or up: however fast somebody types, the host sees every one.
 */
#include "hw/usb/usb_keyboard.h"
#include "hw/alloc.h"
#include "hw/usb/usb_hid.h"

#include <string.h>

#define REPORT_LENGTH   8
#define REPORT_KEYS     6
#define QUEUE_SIZE      32
#define USAGES          0xe8
#define FIRST_MODIFIER  0xe0
#define ERROR_ROLL_OVER 1
#define FIRST_KEY       4 /* below it are no keys but errors */

/* Bits of the output report. */
enum { OUTPUT_NUM = 1, OUTPUT_CAPS = 2, OUTPUT_SCROLL = 4 };
/* Bits of input_port.leds. */
enum { LED_SCROLL = 1, LED_NUM = 2, LED_CAPS = 4 };

struct key_event {
    uint8_t usage;
    bool down;
};

struct usb_keyboard {
    struct usb_hid hid;
    uint8_t down[USAGES]; /* keys that the host has been told of */
    struct key_event queue[QUEUE_SIZE];
    uint8_t count;
    uint8_t lamps; /* the host's last output report */
    uint8_t *leds;
    struct input_routes *routes;
    struct key_route route;
};

static const struct field key_event_fields[] = {
    FIELD(struct key_event, usage, 1),
    FIELD(struct key_event, down, 1),
    FIELD_END,
};

static const struct field usb_keyboard_fields[] = {
    FIELD_STRUCT(struct usb_keyboard, hid, usb_hid_fields, 1),
    FIELD_ARRAY(struct usb_keyboard, down, 1),
    FIELD_STRUCTS(struct usb_keyboard, queue, key_event_fields, 1),
    FIELD(struct usb_keyboard, count, 1),
    FIELD(struct usb_keyboard, lamps, 1),
    FIELD_END,
};

static const uint8_t report_descriptor[] = {
    0x05, 0x01,                   /* Usage Page (Generic Desktop) */
    0x09, 0x06,                   /* Usage (Keyboard) */
    0xa1, 0x01,                   /* Collection (Application) */
    0x05, 0x07,                   /*   Usage Page (Keyboard) */
    0x19, 0xe0, 0x29, 0xe7,       /*   Usages 0xe0 to 0xe7 */
    0x15, 0x00, 0x25, 0x01,       /*   0 to 1 */
    0x75, 0x01, 0x95, 0x08,       /*   8 fields of 1 bit */
    0x81, 0x02,                   /*   Input (variable) */
    0x95, 0x01, 0x75, 0x08,       /*   1 field of 8 bits */
    0x81, 0x01,                   /*   Input (constant) */
    0x05, 0x08,                   /*   Usage Page (LEDs) */
    0x19, 0x01, 0x29, 0x05,       /*   Usages 1 to 5 */
    0x95, 0x05, 0x75, 0x01,       /*   5 fields of 1 bit */
    0x91, 0x02,                   /*   Output (variable) */
    0x95, 0x01, 0x75, 0x03,       /*   1 field of 3 bits */
    0x91, 0x01,                   /*   Output (constant) */
    0x05, 0x07,                   /*   Usage Page (Keyboard) */
    0x19, 0x00, 0x29, 0xff,       /*   Usages 0 to 255 */
    0x15, 0x00, 0x26, 0xff, 0x00, /* 0 to 255 */
    0x95, 0x06, 0x75, 0x08,       /*   6 fields of 8 bits */
    0x81, 0x00,                   /*   Input (array) */
    0xc0,
};

static const uint8_t full_speed[] = {USB_HID_CONFIGURATION(1, 1, sizeof report_descriptor, 8, 10)};
static const uint8_t high_speed[] = {
    USB_HID_CONFIGURATION(1, 1, sizeof report_descriptor, 8, 7)}; /* 8 ms */

static const struct usb_description description = {
    .vendor = 0x0627,
    .product = 0x0002,
    .release = 0x0100,
    .manufacturer = "doppel",
    .name = "USB Keyboard",
    .configuration = {[USB_LOW] = full_speed, [USB_FULL] = full_speed, [USB_HIGH] = high_speed},
};

/* -- Keys -- */

static void key_event(void *opaque, uint16_t hid_usage, bool down)
{
    struct usb_keyboard *keyboard = opaque;

    if (hid_usage < FIRST_KEY || hid_usage >= USAGES || keyboard->count == QUEUE_SIZE)
        return;
    keyboard->queue[keyboard->count++] = (struct key_event){(uint8_t)hid_usage, down};
    usb_hid_changed(&keyboard->hid);
}

static void compose(const struct usb_keyboard *keyboard, uint8_t *report)
{
    unsigned keys = 0;

    memset(report, 0, REPORT_LENGTH);
    for (unsigned i = 0; i < 8; i++)
        report[0] |= (uint8_t)((keyboard->down[FIRST_MODIFIER + i] & 1) << i);
    for (unsigned usage = FIRST_KEY; usage < FIRST_MODIFIER; usage++) {
        if (!keyboard->down[usage])
            continue;
        if (keys < REPORT_KEYS)
            report[2 + keys] = (uint8_t)usage;
        keys++;
    }
    if (keys > REPORT_KEYS)
        memset(report + 2, ERROR_ROLL_OVER, REPORT_KEYS);
}

/* Takes events until one changes something: a key that repeats says nothing new. */
static bool next_report(struct usb_hid *hid, uint8_t *report)
{
    struct usb_keyboard *keyboard = (struct usb_keyboard *)hid;

    while (keyboard->count) {
        struct key_event event = keyboard->queue[0];
        memmove(keyboard->queue, keyboard->queue + 1, --keyboard->count * sizeof *keyboard->queue);
        if (keyboard->down[event.usage] == event.down)
            continue;
        keyboard->down[event.usage] = event.down;
        compose(keyboard, report);
        return true;
    }
    return false;
}

static void set_lamps(struct usb_keyboard *keyboard)
{
    *keyboard->leds = (uint8_t)((keyboard->lamps & OUTPUT_SCROLL ? LED_SCROLL : 0) |
                                (keyboard->lamps & OUTPUT_NUM ? LED_NUM : 0) |
                                (keyboard->lamps & OUTPUT_CAPS ? LED_CAPS : 0));
}

static void output(struct usb_hid *hid, const uint8_t *report, unsigned length)
{
    struct usb_keyboard *keyboard = (struct usb_keyboard *)hid;

    if (!length)
        return;
    keyboard->lamps = report[0];
    set_lamps(keyboard);
}

static void restart(struct usb_hid *hid)
{
    struct usb_keyboard *keyboard = (struct usb_keyboard *)hid;

    memset(keyboard->down, 0, sizeof keyboard->down);
    keyboard->count = 0;
    keyboard->lamps = 0;
}

static void configured(struct usb_hid *hid, bool configured)
{
    struct usb_keyboard *keyboard = (struct usb_keyboard *)hid;

    input_routes_use_keyboard(keyboard->routes, &keyboard->route, configured);
}

static const struct usb_hid_ops hid_ops = {
    .report_descriptor = report_descriptor,
    .report_descriptor_length = sizeof report_descriptor,
    .report_length = REPORT_LENGTH,
    .boot = true,
    .next = next_report,
    .output = output,
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

static bool usb_keyboard_post_load(struct device *device, struct error *error)
{
    struct usb_keyboard *keyboard = (struct usb_keyboard *)device;
    bool ok = keyboard->count <= QUEUE_SIZE;

    for (unsigned i = 0; ok && i < keyboard->count; i++)
        ok = keyboard->queue[i].usage < USAGES;
    if (!ok)
        return error_set(error, "The saved state of USB device '%s' is damaged", device->id);
    if (keyboard->hid.usb.configuration)
        set_lamps(keyboard);
    return usb_hid_post_load(device, error);
}

static const struct device_ops usb_keyboard_ops = {
    .name = "usb-keyboard",
    .fields = usb_keyboard_fields,
    .version = 1,
    .reset = usb_hid_reset,
    .post_load = usb_keyboard_post_load,
    .destroy = usb_hid_destroy,
};

struct usb_device *usb_keyboard_new(struct device_list *list, struct clock *clock,
                                    struct input_routes *routes, uint8_t *leds, const char *id)
{
    struct usb_keyboard *keyboard = alloc_zeroed(sizeof *keyboard);

    usb_hid_init(&keyboard->hid, &usb_ops, &hid_ops, clock);
    keyboard->routes = routes;
    keyboard->leds = leds;
    keyboard->route = (struct key_route){.key = key_event, .device = keyboard};
    device_add(list, &keyboard->hid.usb.device, &usb_keyboard_ops, id);
    return &keyboard->hid.usb;
}
