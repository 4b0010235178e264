/*
 * USB devices as a controller sees them, token by token: standard requests, the tablet, the
 * keyboard, the disk.
 */
#include "tests/hw/usb_bench.h"

#define DISK_SECTORS 2048u
#define IN           0x81
#define OUT          0x02

static struct usb_bench bench, copy;
static struct usb_port port, other_port;
static struct usb_bus bus, other_bus;
static struct usb_device *device;
static struct image *disk;
static unsigned changes, wakes;
static uint32_t ready; /* endpoints: bit n OUT, 16 + n IN */

static void port_changed(void *controller, struct usb_port *p)
{
    changes++;
}

static void port_ready(void *controller, struct usb_port *p, uint8_t endpoint)
{
    ready |= 1u << ((endpoint & 15) + (endpoint >> 7) * 16);
}

static void port_wake(void *controller, struct usb_port *p)
{
    wakes++;
}

static void make_port(struct usb_port *p, struct usb_bus *b, enum usb_speed speed)
{
    *p = (struct usb_port){.speeds = USB_SPEED_BIT(speed),
                           .changed = port_changed,
                           .ready = port_ready,
                           .wake = port_wake};
    *b = (struct usb_bus){p, 1};
}

static void plug(struct usb_device *d, enum usb_speed speed)
{
    device = d;
    make_port(&port, &bus, speed);
    ck_assert(usb_attach(&bus, device));
    ready = changes = wakes = 0;
}

/* -- Transfers -- */

static uint8_t data[65536];
static uint32_t actual;
static bool was_short;

static enum usb_result token(enum usb_token kind, uint8_t endpoint, const void *out,
                             uint32_t length)
{
    struct usb_transfer transfer = {
        .token = kind, .endpoint = endpoint & 15, .data = data, .length = length};
    if (out)
        memcpy(data, out, length);
    enum usb_result result = usb_submit(device, &transfer);
    actual = transfer.actual;
    was_short = transfer.short_packet;
    return result;
}

/* A whole control transfer; data in `data`, how many in `actual`. */
static enum usb_result control(uint8_t type, uint8_t request, uint16_t value, uint16_t index,
                               const void *out, uint16_t length)
{
    const uint8_t setup[8] = {type, request, USB_U16(value), USB_U16(index), USB_U16(length)};
    uint8_t in[512];
    uint32_t count = 0;
    ck_assert_int_eq(token(USB_SETUP, 0, setup, 8), USB_OK);
    if (length && (type & USB_DEVICE_TO_HOST)) {
        enum usb_result result = token(USB_IN, 0, NULL, length);
        if (result)
            return result;
        count = actual;
        memcpy(in, data, count);
    } else if (length) {
        enum usb_result result = token(USB_OUT, 0, out, length);
        if (result)
            return result;
    }
    enum usb_result result =
        token(length && (type & USB_DEVICE_TO_HOST) ? USB_OUT : USB_IN, 0, NULL, 0);
    memcpy(data, in, count);
    actual = count;
    return result;
}

static void configure(void)
{
    ck_assert_int_eq(control(0, 5, 7, 0, NULL, 0), USB_OK);
    ck_assert_uint_eq(device->address, 7);
    ck_assert_int_eq(control(0, 9, 1, 0, NULL, 0), USB_OK);
}

/* -- Endpoint 0 -- */

START_TEST(descriptors_are_consistent)
{
    static const uint8_t packets[USB_SPEEDS] = {8, 8, 64, 9};
    struct usb_device *devices[] = {usb_bench_tablet(&bench), usb_bench_keyboard(&bench),
                                    usb_bench_storage(&bench, disk, false)};
    for (unsigned i = 0; i < 3; i++) {
        for (int speed = 0; speed < USB_SPEEDS; speed++) {
            const uint8_t *config = devices[i]->ops->description->configuration[speed];
            if (!config)
                continue;
            plug(devices[i], (enum usb_speed)speed);
            ck_assert_int_eq(control(0x80, 6, 0x100, 0, NULL, 64), USB_OK);
            ck_assert_uint_eq(actual, 18);
            ck_assert_uint_eq(data[0], 18);
            ck_assert_uint_eq(data[7], packets[speed]);
            ck_assert_int_eq(control(0x80, 6, 0x200, 0, NULL, 255), USB_OK);
            unsigned length = data[2] | data[3] << 8, interfaces = 0, endpoints = 0, at = 0;
            ck_assert_uint_eq(actual, length);
            for (; at < length; at += data[at]) { /* each is as long as it says */
                ck_assert_uint_gt(data[at], 1);
                interfaces += data[at + 1] == 4;
                endpoints += data[at + 1] == 5;
            }
            ck_assert_uint_eq(at, length);
            ck_assert_uint_eq(interfaces, 1);
            ck_assert_uint_eq(endpoints, i == 2 ? 2 : 1);
            ck_assert_int_eq(control(0x80, 6, 0x300, 0, NULL, 255), USB_OK);
            ck_assert_uint_eq(actual, 4);
            ck_assert_int_eq(control(0x80, 6, 0x302, 0x409, NULL, 255), USB_OK);
            ck_assert_uint_eq(actual, data[0]);
            ck_assert_int_eq(control(0x80, 6, 0x303, 0x409, NULL, 255),
                             i == 2 ? USB_OK : USB_STALL);
            ck_assert_int_eq(control(0x80, 6, 0xf00, 0, NULL, 255),
                             speed == USB_SUPER ? USB_OK : USB_STALL);
            usb_detach(devices[i]);
        }
    }
}
END_TEST

START_TEST(requests_that_are_wrong_stall)
{
    plug(usb_bench_tablet(&bench), USB_HIGH);
    ck_assert_int_eq(control(0x80, 6, 0x700, 0, NULL, 18), USB_STALL);
    ck_assert_int_eq(control(0, 9, 2, 0, NULL, 0), USB_STALL);
    ck_assert_int_eq(control(0, 5, 200, 0, NULL, 0), USB_STALL);
    ck_assert_int_eq(control(0x40, 1, 0, 0, NULL, 0), USB_STALL);
    ck_assert_int_eq(control(0x21, 9, 0x200, 0, data, 2), USB_STALL);
    ck_assert_int_eq(control(0x21, 9, 0x200, 0, data, 1000), USB_STALL);
    ck_assert_int_eq(token(USB_IN, 0, NULL, 8), USB_STALL);
    ck_assert_int_eq(token(USB_SETUP, 0, data, 7), USB_STALL);
    ck_assert_int_eq(control(0x80, 6, 0x100, 0, NULL, 18), USB_OK); /* and all is well again */
    ck_assert_int_eq(token(USB_IN, IN, NULL, 8), USB_LOST);         /* not configured */
    configure();
    ck_assert_int_eq(token(USB_IN, 3, NULL, 8), USB_LOST);
    ck_assert_int_eq(token(USB_OUT, 1, data, 8), USB_LOST);
}
END_TEST

START_TEST(an_endpoint_is_halted_and_cleared)
{
    plug(usb_bench_tablet(&bench), USB_FULL);
    configure();
    ck_assert_int_eq(control(2, 3, 0, IN, NULL, 0), USB_OK);
    ck_assert_int_eq(control(0x82, 0, 0, IN, NULL, 2), USB_OK);
    ck_assert_uint_eq(data[0], 1);
    ck_assert_int_eq(token(USB_IN, IN, NULL, 8), USB_STALL);
    ck_assert_int_eq(control(2, 1, 0, IN, NULL, 0), USB_OK);
    ck_assert_int_eq(token(USB_IN, IN, NULL, 8), USB_NAK);
    ck_assert_int_eq(control(2, 3, 0, 0x85, NULL, 0), USB_STALL); /* no such endpoint */
}
END_TEST

/* -- The tablet -- */

static void expect_report(unsigned buttons, unsigned x, unsigned y, int wheel)
{
    const uint8_t wanted[] = {(uint8_t)buttons, (uint8_t)x,        (uint8_t)(x >> 8),
                              (uint8_t)y,       (uint8_t)(y >> 8), (uint8_t)wheel};
    ck_assert_int_eq(token(USB_IN, IN, NULL, 8), USB_OK);
    ck_assert_uint_eq(actual, sizeof wanted);
    ck_assert(was_short);
    ck_assert_mem_eq(data, wanted, sizeof wanted);
}

START_TEST(tablet_reports_positions_and_clicks)
{
    plug(usb_bench_tablet(&bench), USB_HIGH);
    ck_assert(!bench.input.absolute);
    configure();
    ck_assert(bench.input.absolute);
    ck_assert_int_eq(token(USB_IN, IN, NULL, 8), USB_NAK);
    usb_bench_point(&bench, 1000, 2000, 0, 0);
    ck_assert_uint_eq(ready, 1u << 17);
    usb_bench_point(&bench, 1001, 32767, 1, 0);
    usb_bench_point(&bench, 99999, 5, 2, 0); /* only the last place counts, wheels add up */
    usb_bench_point(&bench, 99999, 5, 0, 1);
    usb_bench_point(&bench, 99999, 5, 0, 0);
    expect_report(0, 32767, 5, 3);
    expect_report(1, 32767, 5, 0);
    expect_report(0, 32767, 5, 0);
    ck_assert_int_eq(token(USB_IN, IN, NULL, 8), USB_NAK);
    usb_bench_point(&bench, 32767, 5, 0, 0); /* nothing new */
    ck_assert_int_eq(token(USB_IN, IN, NULL, 8), USB_NAK);
    usb_bench_point(&bench, 1, 1, 0, 0);
    ck_assert_int_eq(token(USB_IN, IN, NULL, 5), USB_BABBLE); /* does not fit, and is not lost */
    expect_report(0, 1, 1, 0);
    ck_assert_int_eq(control(0, 9, 0, 0, NULL, 0), USB_OK);
    ck_assert(!bench.input.absolute);
    ck_assert_uint_eq(clock_next_deadline(bench.pci.clock), TIMER_NEVER);
}
END_TEST

START_TEST(tablet_keeps_every_click_of_a_full_queue)
{
    plug(usb_bench_tablet(&bench), USB_HIGH);
    configure();
    for (unsigned i = 0; i < 200; i++)
        usb_bench_point(&bench, i, i, 0, i & 1);
    unsigned reports = 0;
    while (token(USB_IN, IN, NULL, 8) == USB_OK)
        reports++;
    ck_assert_uint_eq(reports, 16);
    ck_assert_uint_eq(data[1], 199); /* the newest place is the one that stays */
}
END_TEST

START_TEST(a_suspended_tablet_wakes_the_host_if_it_may)
{
    plug(usb_bench_tablet(&bench), USB_HIGH);
    configure();
    usb_suspend(device, true);
    usb_bench_point(&bench, 5, 5, 0, 0);
    ck_assert_uint_eq(wakes, 0);
    usb_suspend(device, false);
    ck_assert_int_eq(control(0, 3, 1, 0, NULL, 0), USB_OK);
    usb_suspend(device, true);
    usb_bench_point(&bench, 6, 6, 0, 0);
    ck_assert_uint_eq(wakes, 1);
    usb_suspend(device, false);
    expect_report(0, 6, 6, 0);
}
END_TEST

/* -- The keyboard -- */

static void expect_keys(const char *report)
{
    ck_assert_int_eq(token(USB_IN, IN, NULL, 8), USB_OK);
    ck_assert_uint_eq(actual, 8);
    ck_assert_mem_eq(data, report, 8);
}

START_TEST(keyboard_takes_keys_while_it_is_configured)
{
    plug(usb_bench_keyboard(&bench), USB_FULL);
    usb_bench_key(&bench, 4, true);
    ck_assert_uint_eq(bench.ps2_keys, 1);
    configure();
    usb_bench_key(&bench, 4, false); /* goes up where it went down */
    ck_assert_uint_eq(bench.ps2_keys, 2);
    usb_bench_key(&bench, 0xe1, true);
    usb_bench_key(&bench, 5, true);
    usb_bench_key(&bench, 5, true); /* repeats say nothing */
    usb_bench_key(&bench, 5, false);
    usb_bench_key(&bench, 0xe1, false);
    ck_assert_uint_eq(bench.ps2_keys, 2);
    expect_keys("\2\0\0\0\0\0\0\0");
    expect_keys("\2\0\5\0\0\0\0\0");
    expect_keys("\2\0\0\0\0\0\0\0");
    expect_keys("\0\0\0\0\0\0\0\0");
    ck_assert_int_eq(token(USB_IN, IN, NULL, 8), USB_NAK);
    for (uint16_t usage = 4; usage < 11; usage++)
        usb_bench_key(&bench, usage, true);
    for (unsigned i = 0; i < 6; i++)
        token(USB_IN, IN, NULL, 8);
    ck_assert_mem_eq(data, "\0\0\4\5\6\7\10\11", 8);
    expect_keys("\0\0\1\1\1\1\1\1"); /* more than six */
    usb_bench_key(&bench, 4, false);
    expect_keys("\0\0\5\6\7\10\11\12");
}
END_TEST

START_TEST(keyboard_lamps_and_class_requests)
{
    plug(usb_bench_keyboard(&bench), USB_FULL);
    configure();
    ck_assert_int_eq(control(0x21, 9, 0x200, 0, "\3", 1), USB_OK);
    ck_assert_uint_eq(bench.input.leds, 6); /* num, caps */
    ck_assert_int_eq(control(0x81, 6, 0x2200, 0, NULL, 255), USB_OK);
    ck_assert_uint_gt(actual, 40);
    ck_assert_int_eq(control(0x81, 6, 0x2100, 0, NULL, 9), USB_OK);
    ck_assert_uint_eq(data[1], 0x21);
    ck_assert_int_eq(control(0x21, 11, 0, 0, NULL, 0), USB_OK);
    ck_assert_int_eq(control(0xa1, 3, 0, 0, NULL, 1), USB_OK);
    ck_assert_uint_eq(data[0], 0);
}
END_TEST

START_TEST(an_idle_rate_repeats_the_report)
{
    struct clock *clock = bench.pci.clock;
    plug(usb_bench_keyboard(&bench), USB_FULL);
    configure();
    ck_assert_uint_eq(clock_next_deadline(clock), TIMER_NEVER);
    ck_assert_int_eq(control(0x21, 10, 0x0a00, 0, NULL, 0), USB_OK); /* 40 ms */
    usb_bench_key(&bench, 7, true);
    expect_keys("\0\0\7\0\0\0\0\0");
    ck_assert_int_eq(token(USB_IN, IN, NULL, 8), USB_NAK);
    ck_assert_uint_eq(clock_next_deadline(clock), clock_now(clock) + 40000000);
    clock_set(clock, clock_now(clock) + 40000000);
    clock_fire_due(clock);
    expect_keys("\0\0\7\0\0\0\0\0");
    ck_assert_int_eq(control(0x21, 10, 0, 0, NULL, 0), USB_OK);
    ck_assert_uint_eq(clock_next_deadline(clock), TIMER_NEVER);
}
END_TEST

/* -- The disk -- */

static void settle(void)
{
    pthread_mutex_lock(&pci_bench_lock);
    loop_drain(bench.pci.loop);
    pthread_mutex_unlock(&pci_bench_lock);
}

static enum usb_result command(bool in, uint32_t length, const char *cdb, unsigned cdb_length)
{
    uint8_t cbw[31] = "USBC\1\2\3\4";
    for (unsigned i = 0; i < 4; i++)
        cbw[8 + i] = (uint8_t)(length >> (8 * i));
    cbw[12] = in ? 0x80 : 0;
    cbw[14] = (uint8_t)cdb_length;
    memcpy(cbw + 15, cdb, cdb_length);
    enum usb_result result = token(USB_OUT, OUT, cbw, 31);
    settle();
    return result;
}

static void expect_status(unsigned status, uint32_t residue)
{
    settle();
    ck_assert_int_eq(token(USB_IN, IN, NULL, 13), USB_OK);
    ck_assert_uint_eq(actual, 13);
    ck_assert_mem_eq(data, "USBS\1\2\3\4", 8);
    ck_assert_uint_eq(data[8] | data[9] << 8 | data[10] << 16 | (uint32_t)data[11] << 24, residue);
    ck_assert_uint_eq(data[12], status);
}

static void clear_halt(uint8_t endpoint)
{
    ck_assert_int_eq(control(2, 1, 0, endpoint, NULL, 0), USB_OK);
}

static void plug_disk(enum usb_speed speed)
{
    plug(usb_bench_storage(&bench, disk, false), speed);
    configure();
    command(true, 18, "\3\0\0\0\22\0", 6); /* takes the unit attention */
    token(USB_IN, IN, NULL, 64);
    token(USB_IN, IN, NULL, 64);
}

START_TEST(a_disk_is_read_in_chunks)
{
    plug_disk(USB_SUPER);
    /* READ(10) of 400 sectors from 3 on: more than one chunk */
    ck_assert_int_eq(command(true, 400 * 512, "\x28\0\0\0\0\3\0\1\x90\0", 10), USB_OK);
    uint32_t done = 0;
    while (done < 400 * 512) {
        enum usb_result result = token(USB_IN, IN, NULL, 1024);
        if (result == USB_NAK && !actual) {
            settle();
            continue;
        }
        ck_assert(!was_short);
        check_pattern(data, 3 * 128 + done / 4, actual / 4);
        done += actual;
    }
    expect_status(0, 0);
    ck_assert_uint_ge(bench.activity, 400);
}
END_TEST

START_TEST(a_disk_is_written)
{
    uint8_t sectors[1024];
    plug_disk(USB_HIGH);
    memset(sectors, 0x5a, sizeof sectors);
    /* one sector: comes before the command is executed; six: after it */
    ck_assert_int_eq(command(false, 512, "\x2a\0\0\0\0\x10\0\0\1\0", 10), USB_OK);
    ck_assert_int_eq(token(USB_OUT, OUT, sectors, 512), USB_OK);
    expect_status(0, 0);
    ck_assert_int_eq(command(false, 3072, "\x2a\x08\0\0\0\x20\0\0\6\0", 10), USB_OK);
    for (unsigned i = 0; i < 3; i++)
        ck_assert_int_eq(token(USB_OUT, OUT, sectors, 1024), USB_OK);
    ck_assert_int_eq(token(USB_IN, IN, NULL, 13), USB_NAK);
    ck_assert_int_eq(token(USB_OUT, OUT, sectors, 512), USB_NAK);
    expect_status(0, 0);
    uint8_t read[512];
    image_read(disk, 0x10 * 512, read, 512);
    ck_assert_mem_eq(read, sectors, 512);
    image_read(disk, 0x25 * 512, read, 512);
    ck_assert_mem_eq(read, sectors, 512);
    image_read(disk, 0x26 * 512, read, 512);
    check_pattern(read, 0x26 * 128, 128);
}
END_TEST

/* What the host expects and the command moves differ (Bulk-Only Transport, 6.7). */
START_TEST(lengths_that_differ_end_in_order)
{
    plug_disk(USB_HIGH);
    /* less than expected, with a short packet: INQUIRY */
    command(true, 255, "\x12\0\0\0\x24\0", 6);
    ck_assert_int_eq(token(USB_IN, IN, NULL, 255), USB_OK);
    ck_assert_uint_eq(actual, 36);
    ck_assert(was_short);
    expect_status(0, 255 - 36);
    /* less than expected, in full packets: READ(10) of one sector, two expected */
    command(true, 1024, "\x28\0\0\0\0\0\0\0\1\0", 10);
    ck_assert_int_eq(token(USB_IN, IN, NULL, 1024), USB_STALL);
    ck_assert_uint_eq(actual, 512);
    ck_assert_int_eq(token(USB_IN, IN, NULL, 13), USB_STALL);
    clear_halt(IN);
    expect_status(0, 512);
    /* more than expected: phase error */
    command(true, 512, "\x28\0\0\0\0\0\0\0\2\0", 10);
    ck_assert_int_eq(token(USB_IN, IN, NULL, 512), USB_OK);
    expect_status(2, 0);
    /* nothing expected */
    command(false, 0, "\x28\0\0\0\0\0\0\0\2\0", 10);
    expect_status(2, 0);
    /* the other way */
    command(false, 2048, "\x28\0\0\0\0\0\0\0\4\0", 10);
    ck_assert_int_eq(token(USB_OUT, OUT, data, 512), USB_STALL);
    clear_halt(OUT);
    expect_status(2, 2048);
    command(true, 512, "\x2a\0\0\0\0\0\0\0\1\0", 10);
    ck_assert_int_eq(token(USB_IN, IN, NULL, 512), USB_STALL);
    clear_halt(IN);
    expect_status(2, 512);
    /* a command that fails: behind the end, and not known */
    command(true, 512, "\x28\0\0\x10\0\0\0\0\1\0", 10);
    ck_assert_int_eq(token(USB_IN, IN, NULL, 512), USB_STALL);
    clear_halt(IN);
    expect_status(1, 512);
    command(false, 0, "\xff\0\0\0\0\0", 6);
    expect_status(1, 0);
    /* one without data */
    command(false, 0, "\x35\0\0\0\0\0\0\0\0\0", 10);
    expect_status(0, 0);
}
END_TEST

START_TEST(a_broken_wrapper_needs_a_reset)
{
    plug_disk(USB_FULL);
    ck_assert_int_eq(token(USB_OUT, OUT, "USBX", 4), USB_STALL);
    clear_halt(OUT);
    clear_halt(IN);
    ck_assert_int_eq(token(USB_IN, IN, NULL, 13), USB_STALL);
    ck_assert_int_eq(command(false, 0, "\0\0\0\0\0\0", 6), USB_STALL);
    ck_assert_int_eq(control(0x21, 0xff, 0, 0, NULL, 0), USB_OK);
    clear_halt(OUT);
    clear_halt(IN);
    ck_assert_int_eq(command(false, 0, "\0\0\0\0\0\0", 6), USB_OK);
    expect_status(0, 0);
    ck_assert_int_eq(control(0xa1, 0xfe, 0, 0, NULL, 1), USB_OK);
    ck_assert_uint_eq(data[0], 0);
}
END_TEST

/* The host gives up while a worker reads: its data must not turn up in the next command. */
START_TEST(a_reset_forgets_a_command_under_way)
{
    plug_disk(USB_HIGH);
    uint8_t cbw[31] = "USBC\1\2\3\4\0\2\0\0\x80\0\x0a\x28\0\0\0\0\7\0\0\1";
    pthread_mutex_lock(&pci_bench_lock); /* the job cannot be finished yet */
    ck_assert_int_eq(token(USB_OUT, OUT, cbw, 31), USB_OK);
    ck_assert_int_eq(control(0x21, 0xff, 0, 0, NULL, 0), USB_OK);
    ck_assert_int_eq(token(USB_OUT, OUT, cbw, 31), USB_NAK);
    pthread_mutex_unlock(&pci_bench_lock);
    settle();
    ck_assert_int_eq(token(USB_IN, IN, NULL, 512), USB_NAK);
    command(true, 512, "\x28\0\0\0\0\1\0\0\1\0", 10);
    ck_assert_int_eq(token(USB_IN, IN, NULL, 512), USB_OK);
    check_pattern(data, 128, 128);
    expect_status(0, 0);
}
END_TEST

START_TEST(state_is_kept_in_the_middle_of_a_command)
{
    plug_disk(USB_HIGH);
    command(true, 1024, "\x28\0\0\0\0\5\0\0\2\0", 10);
    ck_assert_int_eq(token(USB_IN, IN, NULL, 512), USB_OK);
    usb_bench_build(&copy);
    struct usb_device *other = usb_bench_storage(&copy, disk, false);
    make_port(&other_port, &other_bus, USB_HIGH);
    ck_assert(usb_attach(&other_bus, other));
    pci_bench_copy_state(&copy.pci, &bench.pci);
    device = other;
    ck_assert_int_eq(token(USB_IN, IN, NULL, 512), USB_OK);
    check_pattern(data, 6 * 128, 128);
    ck_assert_int_eq(token(USB_IN, IN, NULL, 13), USB_OK);
    ck_assert_uint_eq(data[12], 0);
    usb_bench_free(&copy);
}
END_TEST

/* -- Running them -- */

static void setup(void)
{
    usb_bench_build(&bench);
    disk = pattern_image(DISK_SECTORS * 512, false);
}

static void teardown(void)
{
    usb_bench_free(&bench);
    image_close(disk);
}

int main(void)
{
    const TTest *const tests[] = {
        descriptors_are_consistent,
        requests_that_are_wrong_stall,
        an_endpoint_is_halted_and_cleared,
        tablet_reports_positions_and_clicks,
        tablet_keeps_every_click_of_a_full_queue,
        a_suspended_tablet_wakes_the_host_if_it_may,
        keyboard_takes_keys_while_it_is_configured,
        keyboard_lamps_and_class_requests,
        an_idle_rate_repeats_the_report,
        a_disk_is_read_in_chunks,
        a_disk_is_written,
        lengths_that_differ_end_in_order,
        a_broken_wrapper_needs_a_reset,
        a_reset_forgets_a_command_under_way,
        state_is_kept_in_the_middle_of_a_command,
    };
    return suite_main("usb", setup, teardown, tests, sizeof tests / sizeof *tests);
}
