/*
 * What all USB devices have: endpoint 0 with the standard requests, descriptors, halted endpoints
 * (USB 2.0, chapters 8 and 9; USB 3.0, chapter 9), and being plugged in.
 *
 * A control transfer in tokens:
 *
 *     SETUP   IN data ...   OUT (status)      the request is carried out at SETUP
 *     SETUP   OUT data ...  IN (status)       ... when all data are there
 *     SETUP                 IN (status)       ... at SETUP; a new address counts after the status
 */
#include "hw/usb/usb.h"

#include <assert.h>
#include <string.h>

/* Standard requests (9.4; USB 3.0, 9.4.11 and 12). */
enum {
    GET_STATUS = 0,
    CLEAR_FEATURE = 1,
    SET_FEATURE = 3,
    SET_ADDRESS = 5,
    GET_DESCRIPTOR = 6,
    GET_CONFIGURATION = 8,
    SET_CONFIGURATION = 9,
    GET_INTERFACE = 10,
    SET_INTERFACE = 11,
    SET_SEL = 48,
    SET_ISOCH_DELAY = 49,
};
enum { TO_DEVICE = 0x00, TO_ENDPOINT = 0x02 };
enum { ENDPOINT_HALT = 0, FUNCTION_SUSPEND = 0, REMOTE_WAKEUP = 1, U1_ENABLE = 48, U2_ENABLE = 49 };
#define KIND_MASK     0x60
#define IN_ENDPOINT   0x80
#define SEL_BYTES     6
#define LANGUAGE      0x0409 /* English (United States) */
#define CONFIG_VALUE  1
#define CONFIG_WAKEUP 0x20
#define MAX_CONFIG    255 /* bytes of our configurations */
#define ADDRESS_MAX   127

enum { STRING_LANGUAGES, STRING_MANUFACTURER, STRING_NAME, STRING_SERIAL };

const struct field usb_device_fields[] = {
    FIELD(struct usb_device, address, 1),        FIELD(struct usb_device, configuration, 1),
    FIELD(struct usb_device, remote_wakeup, 1),  FIELD(struct usb_device, suspended, 1),
    FIELD(struct usb_device, halted_in, 1),      FIELD(struct usb_device, halted_out, 1),
    FIELD(struct usb_device, stage, 1),          FIELD_ARRAY(struct usb_device, setup, 1),
    FIELD(struct usb_device, control_length, 1), FIELD(struct usb_device, control_done, 1),
    FIELD_ARRAY(struct usb_device, control, 1),  FIELD_END,
};

/* -- Descriptors -- */

static const uint8_t *configuration(const struct usb_device *device)
{
    return device->ops->description->configuration[device->speed];
}

static unsigned configuration_length(const uint8_t *descriptors)
{
    return descriptors[2] | (unsigned)descriptors[3] << 8;
}

/* The endpoint's descriptor, or NULL. */
static const uint8_t *find_endpoint(const struct usb_device *device, uint8_t endpoint)
{
    const uint8_t *at = configuration(device), *end = at + configuration_length(at);

    for (; at < end; at += at[0])
        if (at[1] == USB_ENDPOINT_DESCRIPTOR && at[2] == endpoint)
            return at;
    return NULL;
}

unsigned usb_packet_size(const struct usb_device *device, uint8_t endpoint)
{
    const uint8_t *descriptor = find_endpoint(device, endpoint);

    return descriptor ? (descriptor[4] | (unsigned)descriptor[5] << 8) & 0x7ff : 0;
}

static unsigned device_descriptor(const struct usb_device *device, uint8_t *data)
{
    static const struct {
        uint16_t version;
        uint8_t packet; /* of endpoint 0; from USB 3 on its logarithm */
    } speeds[USB_SPEEDS] = {{0x200, 8}, {0x200, 8}, {0x200, 64}, {0x300, 9}};
    const struct usb_description *d = device->ops->description;
    const uint8_t bytes[18] = {sizeof bytes,
                               USB_DEVICE_DESCRIPTOR,
                               USB_U16(speeds[device->speed].version),
                               0, /* class, subclass, protocol: see the interface */
                               0,
                               0,
                               speeds[device->speed].packet,
                               USB_U16(d->vendor),
                               USB_U16(d->product),
                               USB_U16(d->release),
                               STRING_MANUFACTURER,
                               STRING_NAME,
                               device->serial[0] ? STRING_SERIAL : 0,
                               1};

    memcpy(data, bytes, sizeof bytes);
    return sizeof bytes;
}

/* How the device would be at the other of full and high speed (9.6.2). */
static unsigned qualifier_descriptor(const struct usb_device *device, uint8_t *data)
{
    const struct usb_description *d = device->ops->description;
    const uint8_t bytes[10] = {
        sizeof bytes, USB_QUALIFIER_DESCRIPTOR, USB_U16(0x200), 0, 0, 0, 64, 1};
    enum usb_speed other = device->speed == USB_HIGH ? USB_FULL : USB_HIGH;

    if (device->speed != USB_FULL && device->speed != USB_HIGH)
        return 0;
    if (!d->configuration[other])
        return 0;
    memcpy(data, bytes, sizeof bytes);
    return sizeof bytes;
}

/* Binary object store (USB 3.0, 9.6.2): link power management, and which speeds there are. */
static unsigned bos_descriptor(const struct usb_device *device, uint8_t *data)
{
    /* clang-format off */
    static const uint8_t bytes[22] = {
        5, USB_BOS_DESCRIPTOR, USB_U16(sizeof bytes), 2, /* two capabilities */
        7, 0x10, 0x02, 0, 0, 0, 0,                       /* USB 2.0 extension: none */
        10, 0x10, 0x03, 0, USB_U16(0x0e), 1,             /* full to super speed, works from full on */
        10, USB_U16(32),                                 /* microseconds to leave U1 and U2 */
    };
    /* clang-format on */

    if (device->speed != USB_SUPER)
        return 0;
    memcpy(data, bytes, sizeof bytes);
    return sizeof bytes;
}

static unsigned string_descriptor(const struct usb_device *device, unsigned index, uint8_t *data)
{
    const struct usb_description *d = device->ops->description;
    const char *const strings[] = {[STRING_MANUFACTURER] = d->manufacturer,
                                   [STRING_NAME] = d->name,
                                   [STRING_SERIAL] = device->serial};
    unsigned length = 2;

    if (index >= sizeof strings / sizeof strings[0])
        return 0;
    if (index == STRING_LANGUAGES) {
        data[length++] = LANGUAGE & 0xff;
        data[length++] = LANGUAGE >> 8;
    } else {
        for (const char *c = strings[index]; c && *c && length < 254; c++) {
            data[length++] = (uint8_t)*c;
            data[length++] = 0;
        }
    }
    data[0] = (uint8_t)length;
    data[1] = USB_STRING_DESCRIPTOR;
    return index == STRING_LANGUAGES || *strings[index] ? length : 0;
}

static bool get_descriptor(struct usb_device *device, const struct usb_setup *setup, uint8_t *data,
                           unsigned *length)
{
    switch (setup->value >> 8) {
    case USB_DEVICE_DESCRIPTOR:
        *length = device_descriptor(device, data);
        break;
    case USB_CONFIGURATION_DESCRIPTOR:
        if (setup->value & 0xff)
            return false;
        *length = configuration_length(configuration(device));
        memcpy(data, configuration(device), *length);
        break;
    case USB_STRING_DESCRIPTOR:
        *length = string_descriptor(device, setup->value & 0xff, data);
        break;
    case USB_QUALIFIER_DESCRIPTOR:
        *length = qualifier_descriptor(device, data);
        break;
    case USB_BOS_DESCRIPTOR:
        *length = bos_descriptor(device, data);
        break;
    default:
        return false;
    }
    return *length > 0;
}

/* -- Standard requests -- */

static uint16_t *halted(struct usb_device *device, unsigned endpoint)
{
    return endpoint & IN_ENDPOINT ? &device->halted_in : &device->halted_out;
}

static uint16_t endpoint_bit(unsigned endpoint)
{
    return (uint16_t)(1u << (endpoint & 15));
}

static bool has_endpoint(const struct usb_device *device, unsigned endpoint)
{
    return (endpoint & 0x7f) == 0 ||
           (device->configuration && endpoint <= 0xff && find_endpoint(device, (uint8_t)endpoint));
}

static void leave_configuration(struct usb_device *device, uint8_t value)
{
    device->configuration = value;
    device->halted_in = device->halted_out = 0;
    device->ops->restart(device);
    if (device->ops->configured)
        device->ops->configured(device);
}

static bool get_status(struct usb_device *device, const struct usb_setup *setup, uint8_t *data,
                       unsigned *length)
{
    unsigned recipient = setup->type & 0x1f;

    data[0] = data[1] = 0;
    *length = 2;
    if (recipient == TO_DEVICE)
        data[0] = (uint8_t)(1 | device->remote_wakeup << 1); /* fed by itself */
    else if (recipient == TO_ENDPOINT && has_endpoint(device, setup->index))
        data[0] = (*halted(device, setup->index) & endpoint_bit(setup->index)) != 0;
    else
        return recipient == USB_TO_INTERFACE;
    return true;
}

/* Power states of the link are accepted: it never leaves U0 by itself. */
static bool set_device_feature(struct usb_device *device, unsigned feature, bool set)
{
    if (feature == REMOTE_WAKEUP && (configuration(device)[7] & CONFIG_WAKEUP))
        device->remote_wakeup = set;
    else
        return device->speed == USB_SUPER && (feature == U1_ENABLE || feature == U2_ENABLE);
    return true;
}

static bool change_feature(struct usb_device *device, const struct usb_setup *setup, bool set)
{
    unsigned endpoint = setup->index;

    switch (setup->type & 0x1f) {
    case TO_DEVICE:
        return set_device_feature(device, setup->value, set);
    case USB_TO_INTERFACE: /* of USB 3 only, with the remote wakeup as an option in the index */
        if (device->speed != USB_SUPER || setup->value != FUNCTION_SUSPEND)
            return false;
        device->remote_wakeup = set && (setup->index & 0x0200);
        return true;
    case TO_ENDPOINT:
        if (setup->value != ENDPOINT_HALT || !has_endpoint(device, endpoint))
            return false;
        if (set && (endpoint & 0x7f))
            *halted(device, endpoint) |= endpoint_bit(endpoint);
        else
            *halted(device, endpoint) &= (uint16_t)~endpoint_bit(endpoint);
        usb_ready(device, (uint8_t)endpoint);
        return true;
    }
    return false;
}

static bool standard_request(struct usb_device *device, const struct usb_setup *setup,
                             uint8_t *data, unsigned *length)
{
    switch (setup->request) {
    case GET_STATUS:
        return get_status(device, setup, data, length);
    case CLEAR_FEATURE:
    case SET_FEATURE:
        return change_feature(device, setup, setup->request == SET_FEATURE);
    case SET_ADDRESS: /* counts after the status stage */
        return setup->value <= ADDRESS_MAX;
    case GET_DESCRIPTOR:
        return (setup->type & 0x1f) == TO_DEVICE && get_descriptor(device, setup, data, length);
    case GET_CONFIGURATION:
        data[0] = device->configuration;
        *length = 1;
        return true;
    case SET_CONFIGURATION:
        if (setup->value > CONFIG_VALUE)
            return false;
        leave_configuration(device, (uint8_t)setup->value);
        return true;
    case GET_INTERFACE:
        data[0] = 0;
        *length = 1;
        return device->configuration && setup->index == 0;
    case SET_INTERFACE:
        if (!device->configuration || setup->index || setup->value)
            return false;
        leave_configuration(device, device->configuration);
        return true;
    case SET_SEL: /* latencies of the path, for a device that would leave U0 */
        return device->speed == USB_SUPER && setup->length == SEL_BYTES;
    case SET_ISOCH_DELAY:
        return device->speed == USB_SUPER;
    }
    return false;
}

/* -- Endpoint 0 -- */

static struct usb_setup parse_setup(const uint8_t *bytes)
{
    return (struct usb_setup){.type = bytes[0],
                              .request = bytes[1],
                              .value = (uint16_t)(bytes[2] | bytes[3] << 8),
                              .index = (uint16_t)(bytes[4] | bytes[5] << 8),
                              .length = (uint16_t)(bytes[6] | bytes[7] << 8)};
}

/* Carries the request out; its data are in control[], or come to be there. */
static bool execute(struct usb_device *device, const struct usb_setup *setup, unsigned *length)
{
    bool ours = (setup->type & KIND_MASK) == 0;

    *length = 0;
    if (ours && standard_request(device, setup, device->control, length))
        return true;
    return device->ops->request && device->ops->request(device, setup, device->control, length);
}

static enum usb_result refuse(struct usb_device *device)
{
    device->stage = USB_STAGE_IDLE;
    return USB_STALL;
}

static enum usb_result take_setup(struct usb_device *device, struct usb_transfer *transfer)
{
    unsigned length;

    if (transfer->length != USB_SETUP_BYTES)
        return refuse(device);
    memcpy(device->setup, transfer->data, USB_SETUP_BYTES);
    transfer->actual = USB_SETUP_BYTES;
    struct usb_setup setup = parse_setup(device->setup);
    device->control_done = 0;
    device->control_length = setup.length;
    if (setup.length && !(setup.type & USB_DEVICE_TO_HOST)) {
        device->stage = setup.length <= USB_CONTROL_MAX ? USB_STAGE_DATA_OUT : USB_STAGE_IDLE;
        return USB_OK; /* a refusal is told by the next token */
    }
    device->stage = USB_STAGE_IDLE;
    memset(device->control, 0, sizeof device->control);
    if (!execute(device, &setup, &length))
        return USB_OK;
    assert(length <= USB_CONTROL_MAX);
    if (length < device->control_length)
        device->control_length = (uint16_t)length;
    device->stage = setup.length ? USB_STAGE_DATA_IN : USB_STAGE_STATUS_IN;
    return USB_OK;
}

static unsigned control_packet_size(const struct usb_device *device)
{
    static const uint16_t sizes[USB_SPEEDS] = {8, 8, 64, 512};

    return sizes[device->speed];
}

static enum usb_result give_data(struct usb_device *device, struct usb_transfer *transfer)
{
    uint32_t left = device->control_length - (uint32_t)device->control_done;
    uint32_t count = left < transfer->length ? left : transfer->length;

    memcpy(transfer->data, device->control + device->control_done, count);
    device->control_done = (uint16_t)(device->control_done + count);
    transfer->actual = count;
    transfer->short_packet =
        count < transfer->length || (count == left && count % control_packet_size(device) != 0);
    return USB_OK;
}

static enum usb_result take_data(struct usb_device *device, struct usb_transfer *transfer)
{
    struct usb_setup setup = parse_setup(device->setup);
    unsigned length;

    if (transfer->length > (uint32_t)device->control_length - device->control_done)
        return refuse(device);
    memcpy(device->control + device->control_done, transfer->data, transfer->length);
    device->control_done = (uint16_t)(device->control_done + transfer->length);
    transfer->actual = transfer->length;
    if (device->control_done < device->control_length)
        return USB_OK;
    device->stage = USB_STAGE_IDLE;
    if (execute(device, &setup, &length))
        device->stage = USB_STAGE_STATUS_IN;
    return USB_OK;
}

static enum usb_result give_status(struct usb_device *device)
{
    struct usb_setup setup = parse_setup(device->setup);

    device->stage = USB_STAGE_IDLE;
    if ((setup.type & KIND_MASK) == 0 && setup.request == SET_ADDRESS)
        device->address = (uint8_t)setup.value;
    return USB_OK;
}

static enum usb_result submit_control(struct usb_device *device, struct usb_transfer *transfer)
{
    if (transfer->token == USB_SETUP)
        return take_setup(device, transfer);
    switch (device->stage) {
    case USB_STAGE_DATA_IN:
        if (transfer->token == USB_IN)
            return give_data(device, transfer);
        device->stage = USB_STAGE_IDLE; /* the status stage; the host may want less data */
        return USB_OK;
    case USB_STAGE_DATA_OUT:
        return transfer->token == USB_OUT ? take_data(device, transfer) : refuse(device);
    case USB_STAGE_STATUS_IN:
        return transfer->token == USB_IN ? give_status(device) : refuse(device);
    }
    return refuse(device);
}

/* -- Tokens -- */

enum usb_result usb_submit(struct usb_device *device, struct usb_transfer *transfer)
{
    uint8_t endpoint = transfer->endpoint;

    transfer->actual = 0;
    transfer->short_packet = false;
    if (device->suspended)
        return USB_LOST;
    if (endpoint == 0)
        return submit_control(device, transfer);
    if (transfer->token == USB_IN)
        endpoint |= IN_ENDPOINT;
    if (transfer->token == USB_SETUP || !device->configuration || !find_endpoint(device, endpoint))
        return USB_LOST;
    if (*halted(device, endpoint) & endpoint_bit(endpoint))
        return USB_STALL;
    return device->ops->transfer(device, transfer);
}

void usb_halt(struct usb_device *device, uint8_t endpoint)
{
    *halted(device, endpoint) |= endpoint_bit(endpoint);
}

void usb_ready(struct usb_device *device, uint8_t endpoint)
{
    if (device->port)
        device->port->ready(device->port->controller, device->port, endpoint);
}

void usb_wake(struct usb_device *device)
{
    if (device->port && device->suspended && device->remote_wakeup)
        device->port->wake(device->port->controller, device->port);
}

/* -- Life -- */

void usb_bus_reset(struct usb_device *device)
{
    device->address = 0;
    device->remote_wakeup = device->suspended = false;
    device->stage = USB_STAGE_IDLE;
    leave_configuration(device, 0);
}

void usb_set_address(struct usb_device *device, uint8_t address)
{
    device->address = address;
}

void usb_suspend(struct usb_device *device, bool suspended)
{
    device->suspended = suspended;
}

void usb_device_init(struct usb_device *device, const struct usb_device_ops *ops)
{
    device->ops = ops;
}

void usb_device_power_on(struct usb_device *device)
{
    memset(device->setup, 0, sizeof device->setup);
    memset(device->control, 0, sizeof device->control);
    device->control_length = device->control_done = 0;
    usb_bus_reset(device);
}

bool usb_device_post_load(struct usb_device *device, struct error *error)
{
    if (device->address > ADDRESS_MAX || device->configuration > CONFIG_VALUE ||
        device->stage > USB_STAGE_STATUS_OUT || device->control_done > device->control_length ||
        (device->control_length > USB_CONTROL_MAX && device->stage != USB_STAGE_IDLE))
        return error_set(error, "The saved state of USB device '%s' is damaged", device->device.id);
    if (device->ops->configured)
        device->ops->configured(device);
    return true;
}

bool usb_attach(struct usb_bus *bus, struct usb_device *device)
{
    const struct usb_description *d = device->ops->description;

    for (int speed = USB_SPEEDS - 1; speed >= 0; speed--) {
        for (unsigned i = 0; i < bus->ports && d->configuration[speed]; i++) {
            struct usb_port *port = &bus->port[i];
            if (port->device || !(port->speeds & USB_SPEED_BIT(speed)))
                continue;
            device->speed = (enum usb_speed)speed;
            device->port = port;
            usb_device_power_on(device);
            port->device = device;
            port->changed(port->controller, port);
            return true;
        }
    }
    return false;
}

void usb_detach(struct usb_device *device)
{
    struct usb_port *port = device->port;

    if (!port)
        return;
    usb_bus_reset(device);
    device->port = NULL;
    port->device = NULL;
    port->changed(port->controller, port);
}
