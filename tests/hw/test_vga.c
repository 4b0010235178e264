/*
 * The display adapter, drawn on by its real video BIOS: a boot sector sets one mode after the other
 * and plots points by INT 10h; the picture must have the mode's size and the points' colours.
 * Skipped without the distribution's firmware. And the linear modes, by their registers.
 */
#include "hw/display/edid.h"
#include "tests/hw/board.h"

#include <stdlib.h>

#define EXIT_SKIPPED 77
#define GO_ON        0x7e00 /* the boot sector waits for a byte here */

/* Draws modes[] (below): for each a mode number and points (x, y, colour) up to x = 0xffff. */
static const uint8_t drawer[] = {
    0x31, 0xc0,                   /*       xor ax, ax */
    0x8e, 0xd8,                   /*       mov ds, ax */
    0xa2, 0x00, 0x7e,             /*       mov [GO_ON], al */
    0xbe, 0x40, 0x7c,             /*       mov si, table */
    0xac,                         /* mode: lodsb */
    0x3c, 0xff,                   /*       cmp al, 0ffh */
    0x74, 0xfe,                   /*       je $ */
    0x30, 0xe4,                   /*       xor ah, ah */
    0xcd, 0x10,                   /*       int 10h */
    0xad,                         /* next: lodsw */
    0x83, 0xf8, 0xff,             /*       cmp ax, -1 */
    0x74, 0x0f,                   /*       je done */
    0x89, 0xc1,                   /*       mov cx, ax */
    0xad,                         /*       lodsw */
    0x89, 0xc2,                   /*       mov dx, ax */
    0xac,                         /*       lodsb */
    0xb4, 0x0c,                   /*       mov ah, 0ch */
    0x31, 0xdb,                   /*       xor bx, bx */
    0xcd, 0x10,                   /*       int 10h */
    0xeb, 0xec,                   /*       jmp next */
    0x90,                         /*       nop */
    0xba, 0x02, 0x04,             /* done: mov dx, 402h */
    0xb0, 0x01,                   /*       mov al, 1: the firmware never says that */
    0xee,                         /*       out dx, al */
    0x80, 0x3e, 0x00, 0x7e, 0x00, /* wait: cmp byte [GO_ON], 0 */
    0x74, 0xf9,                   /*       je wait */
    0xc6, 0x06, 0x00, 0x7e, 0x00, /*       mov byte [GO_ON], 0 */
    0xeb, 0xce,                   /*       jmp mode */
};
#define TABLE 0x40

struct point {
    int x, y;
    uint8_t colour;
    uint32_t pixel;
};

#define POINTS 5

/* The colours are those of the BIOS's palettes: EGA's sixteen, CGA's first, the 256 of mode 13h. */
static const struct mode {
    uint8_t number;
    int width, height;
    struct point point[POINTS];
} modes[] = {
    {0x13,
     320,
     200,
     {{0, 0, 15, 0xffffff},
      {319, 199, 4, 0xaa0000},
      {160, 100, 40, 0xff0000},
      {5, 9, 32, 0x0000ff}}},
    {0x12,
     640,
     480,
     {{0, 0, 15, 0xffffff},
      {639, 479, 4, 0xaa0000},
      {321, 241, 2, 0x00aa00},
      {7, 8, 14, 0xffff55}}},
    {0x10,
     640,
     350,
     {{0, 0, 15, 0xffffff}, {639, 349, 4, 0xaa0000}, {8, 1, 6, 0xaa5500}, {9, 2, 9, 0x5555ff}}},
    {0x0d,
     320,
     200,
     {{0, 0, 15, 0xffffff},
      {319, 199, 4, 0xaa0000},
      {17, 33, 1, 0x0000aa},
      {18, 34, 12, 0xff5555}}},
    {0x0e,
     640,
     200,
     {{0, 0, 15, 0xffffff},
      {639, 199, 5, 0xaa00aa},
      {300, 50, 3, 0x00aaaa},
      {301, 51, 7, 0xaaaaaa}}},
    {0x11,
     640,
     480,
     {{0, 0, 1, 0xffffff},
      {639, 479, 1, 0xffffff},
      {100, 51, 1, 0xffffff},
      {101, 300, 1, 0xffffff}}},
    {0x0f, 640, 350, {{0, 0, 1, 0xaaaaaa}, {639, 349, 1, 0xaaaaaa}, {101, 300, 1, 0xaaaaaa}}},
    {0x05, 320, 200, {{0, 0, 1, 0x55ffff}, {319, 199, 2, 0xff55ff}, {50, 51, 3, 0xffffff}}},
    {0x06,
     640,
     200,
     {{0, 0, 1, 0xffffff},
      {639, 199, 1, 0xffffff},
      {100, 51, 1, 0xffffff},
      {101, 100, 1, 0xffffff}}},
    {0x04,
     320,
     200,
     {{0, 0, 1, 0x55ffff}, {319, 199, 2, 0xff55ff}, {50, 51, 3, 0xffffff}, {51, 100, 1, 0x55ffff}}},
};
#define MODES (sizeof modes / sizeof modes[0])

static struct board_parts parts;

static void setup(void)
{
    log_items = 0;
    board_parts_load(&parts);
}

static void teardown(void)
{
    board_parts_free(&parts);
}

/* -- Legacy modes through the video BIOS -- */

static void make_sector(uint8_t sector[512])
{
    size_t used = TABLE;

    memset(sector, 0, 512);
    ck_assert_uint_le(sizeof drawer, TABLE);
    memcpy(sector, drawer, sizeof drawer);
    for (size_t i = 0; i < MODES; i++) {
        sector[used++] = modes[i].number;
        for (const struct point *point = modes[i].point; point->pixel; point++) {
            const uint8_t entry[] = {(uint8_t)point->x, (uint8_t)(point->x >> 8), (uint8_t)point->y,
                                     (uint8_t)(point->y >> 8), point->colour};
            memcpy(sector + used, entry, sizeof entry);
            used += sizeof entry;
        }
        sector[used++] = 0xff;
        sector[used++] = 0xff;
    }
    sector[used++] = 0xff;
    ck_assert_uint_le(used, 510);
    sector[510] = 0x55;
    sector[511] = 0xaa;
}

static bool wait_for_drawing(struct machine *machine, struct board_text *console)
{
    uint64_t end = clock_now(machine_clock(machine)) + 30 * NS_PER_SECOND;
    bool drawn = false;

    while (!drawn && clock_now(machine_clock(machine)) < end) {
        machine_turn(machine, NS_PER_SECOND / 200);
        machine_lock(machine);
        drawn = strchr(console->bytes, 1) != NULL;
        if (drawn)
            console->length = console->bytes[0] = 0;
        machine_unlock(machine);
    }
    return drawn;
}

static void check_picture(struct machine *machine, const struct mode *mode)
{
    struct display_port *display = machine_display(machine);
    struct frame frame;
    struct display_rows rows;

    machine_lock(machine);
    display->refresh(display->adapter, &frame, &rows);
    ck_assert_msg(frame.width == mode->width && frame.height == mode->height,
                  "mode %02x is %dx%d, not %dx%d", mode->number, frame.width, frame.height,
                  mode->width, mode->height);
    int lit = 0, points = 0;
    for (int i = 0; i < frame.width * frame.height; i++)
        lit += (frame.pixels[i / frame.width * frame.stride + i % frame.width] & 0xffffff) != 0;
    for (const struct point *point = mode->point; point->pixel; point++, points++) {
        uint32_t pixel = frame.pixels[point->y * frame.stride + point->x] & 0xffffff;
        ck_assert_msg(pixel == point->pixel, "mode %02x: (%d, %d) is %06x, not %06x", mode->number,
                      point->x, point->y, pixel, point->pixel);
    }
    ck_assert_msg(lit == points, "mode %02x shows %d points, not %d", mode->number, lit, points);
    machine_unlock(machine);
}

START_TEST(bios_draws_in_every_mode)
{
    static struct board_text console;
    struct machine *machine = board_new(&parts);
    uint8_t sector[512];
    const uint8_t one = 1;

    make_sector(sector);
    ck_assert_int_eq(image_write(machine->image[0], 0, sector, sizeof sector), 0);
    board_listen(machine, &console);
    machine_start(machine);
    for (size_t i = 0; i < MODES; i++) {
        ck_assert_msg(wait_for_drawing(machine, &console), "mode %02x: nothing was drawn",
                      modes[i].number);
        check_picture(machine, &modes[i]);
        memory_dma_write(machine_memory(machine), GO_ON, &one, 1);
    }
    machine_free(machine);
}
END_TEST

/* VBE/DDC (INT 10h, 4F15h): the video BIOS hands out the EDID that the adapter shows. */
START_TEST(bios_reads_the_edid)
{
    static const uint8_t reader[] = {
        0x31, 0xc0,       /* xor ax, ax */
        0x8e, 0xd8,       /* mov ds, ax */
        0x8e, 0xc0,       /* mov es, ax */
        0x31, 0xc9,       /* xor cx, cx */
        0x31, 0xd2,       /* xor dx, dx */
        0xbf, 0x00, 0x80, /* mov di, 8000h */
        0xbb, 0x01, 0x00, /* mov bx, 1 */
        0xb8, 0x15, 0x4f, /* mov ax, 4f15h */
        0xcd, 0x10,       /* int 10h */
        0xa3, 0x00, 0x7e, /* mov [GO_ON], ax */
        0xba, 0x02, 0x04, /* mov dx, 402h */
        0xb0, 0x01,       /* mov al, 1 */
        0xee,             /* out dx, al */
        0xeb, 0xfe,       /* jmp $ */
    };
    static struct board_text console;
    struct machine *machine = board_new(&parts);
    uint8_t sector[512] = {[510] = 0x55, [511] = 0xaa}, edid[EDID_SIZE], answer[EDID_SIZE], ax[2];

    memcpy(sector, reader, sizeof reader);
    ck_assert_int_eq(image_write(machine->image[0], 0, sector, sizeof sector), 0);
    board_listen(machine, &console);
    machine_start(machine);
    ck_assert(wait_for_drawing(machine, &console));
    edid_build(edid);
    memory_dma_read(machine_memory(machine), GO_ON, ax, sizeof ax);
    memory_dma_read(machine_memory(machine), 0x8000, answer, sizeof answer);
    ck_assert_uint_eq(ax[0] | ax[1] << 8, 0x004f);
    ck_assert_mem_eq(answer, edid, EDID_SIZE);
    machine_free(machine);
}
END_TEST

/* -- Linear modes -- */

static void vbe(struct machine *machine, uint16_t reg, uint16_t value)
{
    io_bus_write(machine->io, 0x1ce, reg, 2);
    io_bus_write(machine->io, 0x1cf, value, 2);
}

static uint16_t vbe_read(struct machine *machine, uint16_t reg)
{
    io_bus_write(machine->io, 0x1ce, reg, 2);
    return (uint16_t)io_bus_read(machine->io, 0x1cf, 2);
}

static const struct linear {
    uint16_t depth;
    uint32_t raw, pixel;
} linear[] = {
    {8, 0x05, 0xff8220},    {15, 0x7c1f, 0xff00ff},   {16, 0xf81f, 0xff00ff},
    {16, 0x07e0, 0x00ff00}, {24, 0x123456, 0x123456}, {32, 0x654321, 0x654321},
};

#define BAR      0xe0000000u
#define WIDTH    640
#define HEIGHT   480
#define VIRTUAL  800
#define X_OFFSET 40
#define Y_OFFSET 30

START_TEST(linear_modes_show_video_memory)
{
    const struct linear *mode = &linear[_i];
    struct machine *machine = board_new(&parts);
    struct display_port *display = machine_display(machine);
    struct frame frame;
    struct display_rows rows;
    uint32_t bytes = (mode->depth + 7u) / 8, pitch = VIRTUAL * bytes;

    machine_lock(machine);
    pci_config_write(machine->pci, PCI_DEVFN(2, 0), PCI_BAR0, BAR, 4);
    pci_config_write(machine->pci, PCI_DEVFN(2, 0), PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
    const uint16_t setup_values[] = {0, WIDTH,   HEIGHT, mode->depth, 0x41,
                                     0, VIRTUAL, 0,      X_OFFSET,    Y_OFFSET};
    for (uint16_t reg = 1; reg < 10; reg++)
        vbe(machine, reg, setup_values[reg]);
    ck_assert_uint_eq(vbe_read(machine, 6), VIRTUAL);
    ck_assert_uint_ge(vbe_read(machine, 7), HEIGHT);
    io_bus_write(machine->io, 0x3c6, 0xff, 1);
    io_bus_write(machine->io, 0x3c8, 5, 1); /* palette entry of the 8-bit mode: 6 bits a colour */
    io_bus_write(machine->io, 0x3c9, 0x3f, 1);
    io_bus_write(machine->io, 0x3c9, 0x20, 1);
    io_bus_write(machine->io, 0x3c9, 0x08, 1);
    display->refresh(display->adapter, &frame, &rows);
    ck_assert_int_eq(frame.width, WIDTH);
    ck_assert_int_eq(frame.height, HEIGHT);

    /* One pixel in the corner, one at (3, 200): only their rows are drawn anew, or few more. */
    memory_dma_write(machine->memory, BAR + Y_OFFSET * pitch + X_OFFSET * bytes, &mode->raw, bytes);
    display->refresh(display->adapter, &frame, &rows);
    display->refresh(display->adapter, &frame, &rows);
    ck_assert(!display->refresh(display->adapter, &frame, &rows));
    memory_dma_write(machine->memory, BAR + (Y_OFFSET + 200) * pitch + (X_OFFSET + 3) * bytes,
                     &mode->raw, bytes);
    ck_assert(display->refresh(display->adapter, &frame, &rows));
    ck_assert_int_le(rows.first, 200);
    ck_assert_int_gt(rows.first + rows.count, 200);
    ck_assert_int_lt(rows.count, 16);
    ck_assert_uint_eq(frame.pixels[0], mode->pixel);
    ck_assert_uint_eq(frame.pixels[200 * frame.stride + 3], mode->pixel);
    ck_assert_uint_eq(frame.pixels[200 * frame.stride + 4], 0);

    /* The bank window shows the same memory. */
    uint32_t at = (Y_OFFSET + 300) * pitch + (X_OFFSET + 9) * bytes;
    vbe(machine, 5, (uint16_t)(at >> 16));
    io_bus_write(machine->io, 0x3c2, 0x67, 1);
    for (uint32_t i = 0; i < bytes; i++)
        memory_mmio_write(machine->memory, 0xa0000 + ((at + i) & 0xffff), mode->raw >> (8 * i), 1);
    ck_assert(display->refresh(display->adapter, &frame, &rows));
    ck_assert_uint_eq(frame.pixels[300 * frame.stride + 9], mode->pixel);
    machine_unlock(machine);
    machine_free(machine);
}
END_TEST

START_TEST(impossible_modes_are_refused)
{
    struct machine *machine = board_new(&parts);

    machine_lock(machine);
    vbe(machine, 1, 2560);
    vbe(machine, 2, 1600);
    vbe(machine, 3, 32);
    vbe(machine, 4, 0x41);
    ck_assert_uint_eq(vbe_read(machine, 4) & 1, 1);
    vbe(machine, 4, 0);
    vbe(machine, 1, 0);
    vbe(machine, 4, 0x41);
    ck_assert_uint_eq(vbe_read(machine, 4) & 1, 0);
    vbe(machine, 3, 7);
    ck_assert_uint_eq(vbe_read(machine, 3), 32);
    machine_unlock(machine);
    machine_free(machine);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("vga");
    TCase *cases = tcase_create("vga");
    struct blob firmware = {0};
    bool installed = firmware_load(&firmware, FIRMWARE_BIOS, FIRMWARE_PACKAGE, NULL);

    blob_free(&firmware);
    tcase_add_unchecked_fixture(cases, setup, teardown);
    tcase_set_timeout(cases, 60);
    if (installed) {
        tcase_add_test(cases, bios_draws_in_every_mode);
        tcase_add_test(cases, bios_reads_the_edid);
    }
    tcase_add_loop_test(cases, linear_modes_show_video_memory, 0,
                        (int)(sizeof linear / sizeof linear[0]));
    tcase_add_test(cases, impossible_modes_are_refused);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    if (!failed && !installed)
        puts("the modes of the video BIOS: no firmware installed");
    return failed ? EXIT_FAILURE : installed ? EXIT_SUCCESS : EXIT_SKIPPED;
}
