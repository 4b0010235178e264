/*
 * USB without a controller: a bus of ports, devices on them, and what passes between the two.
 *
 *     controller (xhci.c, uhci.c)          device (usb_tablet.c, usb_storage.c, ...)
 *        usb_submit(device, transfer)  ->  usb.c: endpoint 0, halted endpoints
 *                                          ops->transfer(): all other endpoints
 *        port->ready(endpoint)         <-  usb_ready(): what was answered NAK may be tried again
 *        port->changed()               <-  usb_attach(), usb_detach()
 *        port->wake()                  <-  usb_wake(): a suspended device asks to be resumed
 *
 * A transfer is one token with as many packets of data as the controller has at hand. It is over
 * when usb_submit() returns: a device that has nothing to say answers USB_NAK, and calls
 * usb_ready() when that changes. So nothing is ever under way, nothing must be called back, and
 * what waits is the controller's own state.
 *
 * A device is made by its constructor, joins the board's list, and is then attached. It starts with
 * struct usb_device and lists that in its state table (usb_device_fields).
 *
 * Specification: Universal Serial Bus 2.0 and 3.0; numbers in parentheses in usb.c are sections of
 * 2.0. Data toggles are not modelled: no packet is ever lost on these wires.
 *
 * Locking: board lock.
 */
#ifndef DOPPEL_HW_USB_USB_H
#define DOPPEL_HW_USB_USB_H

#include "hw/device.h"

#include <stddef.h>

enum usb_speed { USB_LOW, USB_FULL, USB_HIGH, USB_SUPER, USB_SPEEDS };
#define USB_SPEED_BIT(speed) (1u << (speed))

enum usb_token { USB_OUT, USB_IN, USB_SETUP };

enum usb_result {
    USB_OK,
    USB_NAK,    /* later; `actual` bytes may have passed before */
    USB_STALL,  /* the endpoint is halted, or the request is refused */
    USB_BABBLE, /* more data than the controller has room for */
    USB_LOST,   /* nobody answers */
};

struct usb_transfer {
    enum usb_token token;
    uint8_t endpoint; /* number, 0 to 15 */
    uint8_t *data;
    uint32_t length;
    /* -- Set by usb_submit -- */
    uint32_t actual;   /* bytes that passed */
    bool short_packet; /* IN: the last packet was not a full one: the device's transfer ends here */
};

/* -- Requests on endpoint 0 (9.3) -- */

struct usb_setup {
    uint8_t type; /* bmRequestType: direction, kind, recipient */
    uint8_t request;
    uint16_t value, index, length;
};

#define USB_SETUP_BYTES    8
#define USB_CONTROL_MAX    512 /* most data of a control transfer */
#define USB_DEVICE_TO_HOST 0x80
enum { USB_TYPE_CLASS = 0x20, USB_TO_INTERFACE = 0x01 };

/* -- Descriptors -- */

enum usb_descriptor {
    USB_DEVICE_DESCRIPTOR = 1,
    USB_CONFIGURATION_DESCRIPTOR = 2,
    USB_STRING_DESCRIPTOR = 3,
    USB_INTERFACE_DESCRIPTOR = 4,
    USB_ENDPOINT_DESCRIPTOR = 5,
    USB_QUALIFIER_DESCRIPTOR = 6,
    USB_BOS_DESCRIPTOR = 15,
    USB_COMPANION_DESCRIPTOR = 48,
};
#define USB_U16(value) (value) & 0xff, (value) >> 8

/* What a device says about itself. Its class is told by its interfaces. */
struct usb_description {
    uint16_t vendor, product, release;
    const char *manufacturer, *name;
    /* The configuration with all that belongs to it, for each speed at which the device works; NULL
     * at others. There is one. */
    const uint8_t *configuration[USB_SPEEDS];
};

/* -- Devices -- */

struct usb_device;
struct usb_port;

struct usb_device_ops {
    const struct usb_description *description;
    /* A request that is not the standard's own for every device. From the host: `data` holds
     * setup->length bytes. To the host: fills `data` (USB_CONTROL_MAX) and *length. False refuses.
     */
    bool (*request)(struct usb_device *device, const struct usb_setup *setup, uint8_t *data,
                    unsigned *length);
    /* A token on an endpoint other than 0. Sets actual and short_packet. */
    enum usb_result (*transfer)(struct usb_device *device, struct usb_transfer *transfer);
    /* The bus was reset, or the configuration chosen anew: back to the state after power-on. */
    void (*restart)(struct usb_device *device);
    /* A driver has configured the device, or left it. May be NULL. */
    void (*configured)(struct usb_device *device);
};

enum usb_stage {
    USB_STAGE_IDLE,
    USB_STAGE_DATA_IN,
    USB_STAGE_DATA_OUT,
    USB_STAGE_STATUS_IN,
    USB_STAGE_STATUS_OUT
};

struct usb_device {
    struct device device;
    /* -- State -- */
    uint8_t address;
    uint8_t configuration; /* 0: not configured */
    bool remote_wakeup, suspended;
    uint16_t halted_in, halted_out; /* a bit for each endpoint */
    uint8_t stage;                  /* of the control transfer, enum usb_stage */
    uint8_t setup[USB_SETUP_BYTES];
    uint16_t control_length, control_done;
    uint8_t control[USB_CONTROL_MAX];
    /* -- Not saved -- */
    const struct usb_device_ops *ops;
    struct usb_port *port; /* NULL while not attached */
    enum usb_speed speed;
    char serial[20]; /* set by constructors of devices that have one */
};

extern const struct field usb_device_fields[];

/* For constructors, before device_add. */
void usb_device_init(struct usb_device *device, const struct usb_device_ops *ops);
/* Parts of the device's own reset and post_load. */
void usb_device_power_on(struct usb_device *device);
bool usb_device_post_load(struct usb_device *device, struct error *error);
/* The device has something for a host that was answered NAK on endpoint `number` | 0x80 for IN. */
void usb_ready(struct usb_device *device, uint8_t endpoint);
/* It has something to say: resumes the bus if it is suspended and the host allowed that. */
void usb_wake(struct usb_device *device);
/* Halts an endpoint until the host clears it. */
void usb_halt(struct usb_device *device, uint8_t endpoint);
/* Largest packet of the endpoint (number | 0x80 for IN) at the device's speed, 0 if there is none.
 */
unsigned usb_packet_size(const struct usb_device *device, uint8_t endpoint);

/* -- For controllers -- */

struct usb_port {
    struct usb_device *device; /* or NULL */
    unsigned speeds;           /* USB_SPEED_BIT of what can be attached here */
    unsigned number;           /* the controller's own */
    void *controller;
    void (*changed)(void *controller, struct usb_port *port);
    void (*ready)(void *controller, struct usb_port *port, uint8_t endpoint);
    void (*wake)(void *controller, struct usb_port *port);
};

struct usb_bus {
    struct usb_port *port;
    unsigned ports;
};

enum usb_result usb_submit(struct usb_device *device, struct usb_transfer *transfer);
/* The port was reset: address 0, not configured. */
void usb_bus_reset(struct usb_device *device);
void usb_set_address(struct usb_device *device, uint8_t address);
void usb_suspend(struct usb_device *device, bool suspended);

/* -- For boards -- */

/* Plugs the device into the first free port that takes it, at the highest speed that both have.
 * False if there is none. */
bool usb_attach(struct usb_bus *bus, struct usb_device *device);
void usb_detach(struct usb_device *device);

#endif
