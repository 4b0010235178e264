/*
 * The VGA by its registers alone: standard modes are programmed, drawn on through the memory window
 * as programs do, and compared pixel by pixel with what the mode means; then what the parts of the
 * data path do, and when.
 */
#include "hw/display/edid.h"
#include "hw/display/vga.h"
#include "tests/hw/pci_bench.h"

#include <time.h>

#define DEVFN PCI_DEVFN(2, 0)
#define LFB   0xe0000000u
#define MMIO  0xe8000000u

static struct pci_bench bench;
static struct display_port display;
static struct frame frame;

/* -- Access -- */

static void out(uint16_t port, uint8_t value)
{
    io_bus_write(bench.io, port, value, 1);
}

static uint8_t in(uint16_t port)
{
    return (uint8_t)io_bus_read(bench.io, port, 1);
}

static void indexed(uint16_t port, uint8_t index, uint8_t value)
{
    out(port, index);
    out(port + 1, value);
}

static void seq(uint8_t index, uint8_t value)
{
    indexed(0x3c4, index, value);
}

static void gr(uint8_t index, uint8_t value)
{
    indexed(0x3ce, index, value);
}

static void cr(uint8_t index, uint8_t value)
{
    indexed(in(0x3cc) & 1 ? 0x3d4 : 0x3b4, index, value);
}

static void ar(uint8_t index, uint8_t value)
{
    in(in(0x3cc) & 1 ? 0x3da : 0x3ba);
    out(0x3c0, index);
    out(0x3c0, value);
    out(0x3c0, 0x20);
}

static void poke(uint32_t at, uint8_t value)
{
    memory_mmio_write(bench.memory, at, value, 1);
}

static uint8_t peek(uint32_t at)
{
    return (uint8_t)memory_mmio_read(bench.memory, at, 1);
}

static void vbe(uint16_t index, uint16_t value)
{
    io_bus_write(bench.io, 0x1ce, index, 2);
    io_bus_write(bench.io, 0x1cf, value, 2);
}

static void pass_us(uint64_t us)
{
    clock_set(bench.clock, clock_now(bench.clock) + us * 1000);
}

/* Beyond the next vertical retrace, where start addresses take effect. */
static bool shown(void)
{
    struct display_rows rows;
    pass_us(40000);
    return display.refresh(display.adapter, &frame, &rows);
}

static uint32_t pixel(int x, int y)
{
    return frame.pixels[y * frame.stride + x];
}

/* -- Modes -- */

struct mode {
    const char *name;
    int width, height;
    uint8_t misc, seq[5], cr[25], gr[9], ar[21];
};

/* What the BIOS's parameter tables say. */
#define COLOURS_16  0, 1, 2, 3, 4, 5, 0x14, 7, 0x38, 0x39, 0x3a, 0x3b, 0x3c, 0x3d, 0x3e, 0x3f
#define COLOURS_256 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15

static const struct mode text_80 = {"80x25",
                                    720,
                                    400,
                                    0x67,
                                    {3, 0, 3, 0, 2},
                                    {0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0,
                                     0x4f, 0x0d, 0x0e, 0,    0,    0,    0,    0x9c, 0x8e,
                                     0x8f, 0x28, 0x1f, 0x96, 0xb9, 0xa3, 0xff},
                                    {0, 0, 0, 0, 0, 0x10, 0x0e, 0, 0xff},
                                    {COLOURS_16, 0x0c, 0, 0x0f, 8, 0}};
static const struct mode text_40 = {"40x25",
                                    360,
                                    400,
                                    0x67,
                                    {3, 8, 3, 0, 2},
                                    {0x2d, 0x27, 0x28, 0x90, 0x2b, 0xa0, 0xbf, 0x1f, 0,
                                     0x4f, 0x0d, 0x0e, 0,    0,    0,    0,    0x9c, 0x8e,
                                     0x8f, 0x14, 0x1f, 0x96, 0xb9, 0xa3, 0xff},
                                    {0, 0, 0, 0, 0, 0x10, 0x0e, 0, 0xff},
                                    {COLOURS_16, 0x0c, 0, 0x0f, 8, 0}};
static const struct mode mode_4 = {
    "CGA 320x200",
    320,
    200,
    0x63,
    {3, 9, 3, 0, 2},
    {0x2d, 0x27, 0x28, 0x90, 0x2b, 0x80, 0xbf, 0x1f, 0,    0xc1, 0,    0,   0,
     0,    0,    0,    0x9c, 0x8e, 0x8f, 0x14, 0,    0x96, 0xb9, 0xa2, 0xff},
    {0, 0, 0, 0, 0, 0x30, 0x0f, 0, 0xff},
    {0, 0x13, 0x15, 0x17, 2, 4, 6, 7, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 1, 0, 3}};
static const struct mode mode_6 = {"CGA 640x200",
                                   640,
                                   200,
                                   0x63,
                                   {3, 1, 1, 0, 6},
                                   {0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0xbf, 0x1f, 0,
                                    0xc1, 0,    0,    0,    0,    0,    0,    0x9c, 0x8e,
                                    0x8f, 0x28, 0,    0x96, 0xb9, 0xc2, 0xff},
                                   {0, 0, 0, 0, 0, 0, 0x0d, 0, 0xff},
                                   {0, 0x17, [16] = 1, 0, 1}};
static const struct mode mode_0d = {"EGA 320x200",
                                    320,
                                    200,
                                    0x63,
                                    {3, 9, 0x0f, 0, 6},
                                    {0x2d, 0x27, 0x28, 0x90, 0x2b, 0x80, 0xbf, 0x1f, 0,
                                     0xc0, 0,    0,    0,    0,    0,    0,    0x9c, 0x8e,
                                     0x8f, 0x14, 0,    0x96, 0xb9, 0xe3, 0xff},
                                    {0, 0, 0, 0, 0, 0, 5, 0x0f, 0xff},
                                    {COLOURS_16, 1, 0, 0x0f}};
static const struct mode mode_12 = {"VGA 640x480",
                                    640,
                                    480,
                                    0xe3,
                                    {3, 1, 0x0f, 0, 6},
                                    {0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0x0b, 0x3e, 0,
                                     0x40, 0,    0,    0,    0,    0,    0,    0xea, 0x8c,
                                     0xdf, 0x28, 0,    0xe7, 0x04, 0xe3, 0xff},
                                    {0, 0, 0, 0, 0, 0, 5, 0x0f, 0xff},
                                    {COLOURS_16, 1, 0, 0x0f}};
static const struct mode mode_13 = {"VGA 320x200",
                                    320,
                                    200,
                                    0x63,
                                    {3, 1, 0x0f, 0, 0x0e},
                                    {0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0xbf, 0x1f, 0,
                                     0x41, 0,    0,    0,    0,    0,    0,    0x9c, 0x8e,
                                     0x8f, 0x28, 0x40, 0x96, 0xb9, 0xa3, 0xff},
                                    {0, 0, 0, 0, 0, 0x40, 5, 0x0f, 0xff},
                                    {COLOURS_256, 0x41, 0, 0x0f}};
static const struct mode mode_x = {"320x240 unchained",
                                   320,
                                   240,
                                   0xe3,
                                   {3, 1, 0x0f, 0, 6},
                                   {0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0x0d, 0x3e, 0,
                                    0x41, 0,    0,    0,    0,    0,    0,    0xea, 0xac,
                                    0xdf, 0x28, 0,    0xe7, 0x06, 0xe3, 0xff},
                                   {0, 0, 0, 0, 0, 0x40, 5, 0x0f, 0xff},
                                   {COLOURS_256, 0x41, 0, 0x0f}};

static const struct mode mode_320x400 = {"320x400 unchained",
                                         320,
                                         400,
                                         0x63,
                                         {3, 1, 0x0f, 0, 6},
                                         {0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0xbf, 0x1f, 0,
                                          0x40, 0,    0,    0,    0,    0,    0,    0x9c, 0x8e,
                                          0x8f, 0x28, 0,    0x96, 0xb9, 0xe3, 0xff},
                                         {0, 0, 0, 0, 0, 0x40, 5, 0x0f, 0xff},
                                         {COLOURS_256, 0x41, 0, 0x0f}};
static const struct mode mode_360x480 = {"360x480 unchained",
                                         360,
                                         480,
                                         0xe7,
                                         {3, 1, 0x0f, 0, 6},
                                         {0x6b, 0x59, 0x5a, 0x8e, 0x5e, 0x8a, 0x0d, 0x3e, 0,
                                          0x40, 0,    0,    0,    0,    0,    0,    0xea, 0xac,
                                          0xdf, 0x2d, 0,    0xe7, 0x06, 0xe3, 0xff},
                                         {0, 0, 0, 0, 0, 0x40, 5, 0x0f, 0xff},
                                         {COLOURS_256, 0x41, 0, 0x0f}};
static const struct mode text_mono = {
    "80x25 mono",
    720,
    400,
    0x66,
    {3, 0, 3, 0, 2},
    {0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0,    0x4f, 0x0d, 0x0e, 0,
     0,    0,    0,    0x9c, 0x8e, 0x8f, 0x28, 0x0d, 0x96, 0xb9, 0xa3, 0xff},
    {0, 0, 0, 0, 0, 0x10, 0x0a, 0, 0xff},
    {0, 8, 8, 8, 8, 8, 8, 8, 0x10, 0x18, 0x18, 0x18, 0x18, 0x18, 0x18, 0x18, 0x0e, 0, 0x0f, 8}};

static void set_mode(const struct mode *mode)
{
    out(0x3c2, mode->misc);
    for (uint8_t i = 0; i < 5; i++)
        seq(i, mode->seq[i]);
    cr(0x11, 0);
    for (uint8_t i = 0; i < 25; i++)
        if (i != 0x11)
            cr(i, mode->cr[i]);
    cr(0x11, mode->cr[0x11]);
    for (uint8_t i = 0; i < 9; i++)
        gr(i, mode->gr[i]);
    for (uint8_t i = 0; i < 21; i++)
        ar(i, mode->ar[i]);
    out(0x3c6, 0xff);
    out(0x3c8, 0);
    for (unsigned i = 0; i < 256; i++) { /* all different */
        out(0x3c9, i & 63);
        out(0x3c9, (uint8_t)(i >> 6));
        out(0x3c9, 63 - (i & 63));
    }
}

static uint32_t colour(unsigned index)
{
    const unsigned rgb[3] = {index & 63, index >> 6, 63 - (index & 63)};
    uint32_t value = 0;
    for (int i = 0; i < 3; i++)
        value = value << 8 | (rgb[i] << 2 | rgb[i] >> 4);
    return value;
}

static unsigned noise(unsigned x, unsigned y)
{
    return (x * 2654435761u ^ y * 40503u) * 2246822519u >> 13;
}

/* -- Pictures -- */

static uint8_t font_line(unsigned character, unsigned line)
{
    return (uint8_t)noise(character, line + 1000);
}

static void load_font(void)
{
    seq(2, 4);
    seq(4, 6);
    gr(5, 0);
    gr(6, 4);
    for (unsigned c = 0; c < 256; c++)
        for (unsigned line = 0; line < 16; line++)
            poke(0xa0000 + 32 * c + line, font_line(c, line));
    seq(2, 3);
    seq(4, 2);
    gr(5, 0x10);
    gr(6, 0x0e);
}

/* Pixel (x, line) of a cell, as an index into the attribute registers. */
static unsigned cell_pixel(unsigned character, unsigned attribute, unsigned x, unsigned line)
{
    unsigned bits = font_line(character, line);
    bool lit = x < 8 ? bits >> (7 - x) & 1 : (character & 0xe0) == 0xc0 && bits & 1;
    return lit ? attribute & 15 : attribute >> 4 & 7;
}

static void fill_text(const struct mode *mode)
{
    set_mode(mode);
    load_font();
    cr(10, 0x20); /* no cursor */
    for (unsigned i = 0; i < 4000; i++) {
        poke(0xb8000 + 2 * i, (uint8_t)noise(i, 1));
        poke(0xb8001 + 2 * i, noise(i, 2) & 0x7f);
    }
}

static void check_text(const struct mode *mode, unsigned cell_height)
{
    unsigned columns = (unsigned)mode->width / 9;
    fill_text(mode);
    cr(9, (uint8_t)(0x40 | (cell_height - 1)));
    shown();
    for (unsigned y = 0; y < 400; y++)
        for (unsigned x = 0; x < (unsigned)mode->width; x++) {
            unsigned cell = y / cell_height * columns + x / 9;
            unsigned index =
                cell_pixel(noise(cell, 1) & 0xff, noise(cell, 2), x % 9, y % cell_height);
            ck_assert_uint_eq(pixel((int)x, (int)y), colour(mode->ar[index]));
        }
}

/* Each plots (x, y) as the mode's programs do, and says what colour register shows it. */

static unsigned plot_4(unsigned x, unsigned y, unsigned c)
{
    uint32_t at = 0xb8000 + (y & 1) * 0x2000 + y / 2 * 80 + x / 4;
    unsigned shift = 6 - 2 * (x & 3);
    poke(at, (uint8_t)((peek(at) & ~(3u << shift)) | (c & 3) << shift));
    return mode_4.ar[c & 3];
}

static unsigned plot_6(unsigned x, unsigned y, unsigned c)
{
    uint32_t at = 0xb8000 + (y & 1) * 0x2000 + y / 2 * 80 + x / 8;
    unsigned shift = 7 - (x & 7);
    poke(at, (uint8_t)((peek(at) & ~(1u << shift)) | (c & 1) << shift));
    return mode_6.ar[c & 1];
}

static unsigned plot_planar(unsigned x, unsigned y, unsigned c, unsigned pitch)
{
    uint32_t at = 0xa0000 + y * pitch + x / 8;
    gr(5, 2); /* colour by write mode 2, pixel by bit mask */
    gr(8, (uint8_t)(0x80 >> (x & 7)));
    peek(at);
    poke(at, c & 15);
    return mode_12.ar[c & 15];
}

static unsigned plot_0d(unsigned x, unsigned y, unsigned c)
{
    return plot_planar(x, y, c, 40);
}

static unsigned plot_12(unsigned x, unsigned y, unsigned c)
{
    return plot_planar(x, y, c, 80);
}

static unsigned plot_13(unsigned x, unsigned y, unsigned c)
{
    poke(0xa0000 + 320 * y + x, (uint8_t)c);
    return c & 0xff;
}

static unsigned plot_x(unsigned x, unsigned y, unsigned c)
{
    seq(2, (uint8_t)(1 << (x & 3)));
    poke(0xa0000 + 80 * y + x / 4, (uint8_t)c);
    return c & 0xff;
}

static unsigned plot_360(unsigned x, unsigned y, unsigned c)
{
    seq(2, (uint8_t)(1 << (x & 3)));
    poke(0xa0000 + 90 * y + x / 4, (uint8_t)c);
    return c & 0xff;
}

static const struct picture {
    const struct mode *mode;
    unsigned (*plot)(unsigned x, unsigned y, unsigned colour);
} pictures[] = {
    {&mode_4, plot_4},   {&mode_6, plot_6}, {&mode_0d, plot_0d},     {&mode_12, plot_12},
    {&mode_13, plot_13}, {&mode_x, plot_x}, {&mode_320x400, plot_x}, {&mode_360x480, plot_360},
};

static void draw(const struct picture *picture)
{
    for (unsigned y = 0; y < (unsigned)picture->mode->height; y++)
        for (unsigned x = 0; x < (unsigned)picture->mode->width; x++)
            picture->plot(x, y, noise(x, y));
}

START_TEST(graphics_modes)
{
    const struct picture *picture = &pictures[_i];
    const struct mode *mode = picture->mode;
    set_mode(mode);
    draw(picture);
    shown();
    ck_assert_msg(frame.width == mode->width && frame.height == mode->height, "%s is %dx%d",
                  mode->name, frame.width, frame.height);
    for (unsigned y = 0; y < (unsigned)mode->height; y++)
        for (unsigned x = 0; x < (unsigned)mode->width; x++) {
            uint32_t want = colour(picture->plot(x, y, noise(x, y)));
            ck_assert_msg(pixel((int)x, (int)y) == want, "%s: (%u, %u) is %06x, not %06x",
                          mode->name, x, y, pixel((int)x, (int)y), want);
        }
    /* One point more is seen, as one row; and nothing else. */
    shown();
    shown();
    ck_assert(!shown());
    picture->plot(101, 77, noise(101, 77) + 1);
    struct display_rows rows;
    ck_assert(display.refresh(display.adapter, &frame, &rows));
    ck_assert(rows.first <= 77 && rows.first + rows.count > 77);
    ck_assert_int_le(rows.count, mode == &mode_4 || mode == &mode_6 ? 200 : 60);
    ck_assert_uint_eq(pixel(101, 77), colour(picture->plot(101, 77, noise(101, 77) + 1)));
    ck_assert_uint_eq(pixel(102, 77), colour(picture->plot(102, 77, noise(102, 77))));
}
END_TEST

START_TEST(text_modes)
{
    static const unsigned cell_height[] = {16, 16, 8,
                                           14}; /* 25, 50 and a little more than 28 rows */
    check_text(_i == 1 ? &text_40 : &text_80, cell_height[_i]);
}
END_TEST

/* The monochrome adapter's place and ports: attributes 0, 1 (underlined), 7, 0fh and 70h. */
START_TEST(monochrome_text)
{
    static const struct {
        uint8_t attribute, foreground, background;
        bool underlined;
    } cells[] = {{0, 0, 0, false},      {0x01, 8, 0, true},     {0x07, 8, 0, false},
                 {0x09, 0x18, 0, true}, {0x0f, 0x18, 0, false}, {0x70, 0, 8, false}};
    fill_text(&text_80);
    set_mode(&text_mono);
    cr(10, 0x20);
    ck_assert_uint_eq(in(0x3d5), 0xff);
    for (unsigned i = 0; i < 6; i++) {
        poke(0xb0000 + 2 * i, (uint8_t)(i + 1));
        poke(0xb0001 + 2 * i, cells[i].attribute);
    }
    shown();
    for (int y = 0; y < 16; y++)
        for (int x = 0; x < 6 * 9; x++) {
            unsigned i = (unsigned)x / 9, dot = (unsigned)x % 9;
            bool lit = (cells[i].underlined && y == 13) ||
                       (dot < 8 && font_line(i + 1, (unsigned)y) >> (7 - dot) & 1);
            ck_assert_uint_eq(pixel(x, y), colour(lit ? cells[i].foreground : cells[i].background));
        }
}
END_TEST

START_TEST(text_attributes)
{
    fill_text(&text_80);
    poke(0xb8000, 'X');
    poke(0xb8001, 0xa1); /* blinks: dark green behind blue */
    unsigned seen = 0;
    for (int i = 0; i < 100; i++) {
        shown();
        bool lit = false;
        for (unsigned y = 0; y < 16; y++)
            for (unsigned x = 0; x < 8; x++) {
                uint32_t now = pixel((int)x, (int)y);
                ck_assert(now == colour(mode_12.ar[1]) || now == colour(mode_12.ar[2]));
                lit |= now == colour(mode_12.ar[1]);
            }
        seen |= 1u << lit;
    }
    ck_assert_uint_eq(seen, 3);
    ar(0x10, 0x04); /* no blinking: bright backgrounds */
    shown();
    unsigned x = 0;
    while (font_line('X', 0) >> (7 - x) & 1)
        x++;
    ck_assert_uint_eq(pixel((int)x, 0), colour(mode_12.ar[10]));
    /* Underlined by attribute 1, where the register says. */
    poke(0xb8001, 0x01);
    cr(0x14, 5);
    shown();
    for (x = 0; x < 9; x++)
        ck_assert_uint_eq(pixel((int)x, 5), colour(mode_12.ar[1]));
    /* Planes that are off do not choose colours. */
    ar(0x12, 0x0e);
    shown();
    ck_assert_uint_eq(pixel(0, 5), colour(mode_12.ar[0]));
    ar(0x12, 0x0f);
    /* The cursor, where it is and as high as it says, moves without a redraw of all. */
    cr(10, 3);
    cr(11, 4);
    cr(14, 0);
    cr(15, 81);
    poke(0xb8000 + 2 * 81 + 1, 0x07);
    unsigned shown_cursor = 0;
    for (int i = 0; i < 20; i++) {
        shown();
        bool all = true;
        for (x = 9; x < 18; x++)
            all &= pixel((int)x, 19) == pixel((int)x, 20) && pixel((int)x, 19) == pixel(9, 19);
        shown_cursor |= 1u << all;
    }
    ck_assert_uint_eq(shown_cursor, 3);
    /* Another glyph under a character that stays. */
    cr(10, 0x20);
    poke(0xb8001, 0x07);
    shown();
    seq(2, 4);
    seq(4, 6);
    gr(5, 0);
    gr(6, 4);
    poke(0xa0000 + 32 * 'X' + 7, 0xff);
    seq(2, 3);
    seq(4, 2);
    gr(5, 0x10);
    gr(6, 0x0e);
    shown();
    for (x = 0; x < 8; x++)
        ck_assert_uint_eq(pixel((int)x, 7), colour(7));
}
END_TEST

/* Scrolled by lines and pixels, with a status line that stays. */
START_TEST(text_split_and_smooth)
{
    fill_text(&text_80);
    cr(0x0d, 160);   /* two rows down */
    cr(8, 5 | 0x20); /* five lines further, one character to the right */
    ar(0x13, 2);     /* and three pixels */
    cr(0x18, 0x6f);  /* split at line 368 */
    cr(7, 0x0f);     /* under write protection the ninth bit alone changes */
    cr(9, 0x0f);
    for (int compatible = 0; compatible < 2; compatible++) {
        ar(0x10, compatible ? 0x2c : 0x0c);
        shown();
        for (unsigned y = 0; y < 400; y++)
            for (unsigned x = 0; x < 720; x++) {
                bool below = y > 0x6f;
                unsigned line = below ? y - 0x70 : y + 5, dot = x + (below && compatible ? 0 : 3);
                unsigned cell = (below ? 0 : 161) + line / 16 * 80 + dot / 9;
                unsigned index =
                    cell_pixel(noise(cell, 1) & 0xff, noise(cell, 2), dot % 9, line % 16);
                ck_assert_uint_eq(pixel((int)x, (int)y), colour(mode_12.ar[index]));
            }
    }
}
END_TEST

START_TEST(split_and_panned_graphics)
{
    static const struct picture *const with[] = {&pictures[3], &pictures[4], &pictures[5]};
    const struct picture *picture = with[_i];
    const struct mode *mode = picture->mode;
    unsigned unit = picture->plot == plot_12 ? 8 : 4, pan = picture->plot == plot_12 ? 5 : 3;
    unsigned scans = picture->plot == plot_12 ? 1 : 2, width = (unsigned)mode->width;
    set_mode(mode);
    draw(picture);
    cr(0x0d, 3); /* three units to the right */
    ar(0x13, (uint8_t)(unit == 8 ? pan : 2 * pan));
    cr(0x18, (uint8_t)(100 * scans - 1));
    cr(7, (uint8_t)(mode->cr[7] & ~0x10));
    cr(9, mode->cr[9] & (uint8_t)~0x40);
    shown();
    for (unsigned y = 0; y < 150; y++)
        for (unsigned x = 0; x < width; x++) {
            unsigned row = y < 100 ? y : y - 100, at = x + pan + (y < 100 ? 3 * unit : 0);
            uint32_t want = colour(
                picture->plot(at % width, row + at / width, noise(at % width, row + at / width)));
            ck_assert_msg(pixel((int)x, (int)y) == want, "%s: (%u, %u) is %06x, not %06x",
                          mode->name, x, y, pixel((int)x, (int)y), want);
        }
}
END_TEST

/* The page that is shown changes at the vertical retrace, whole. */
START_TEST(page_flip_at_retrace)
{
    struct display_rows rows;
    set_mode(&mode_x);
    seq(2, 0x0f);
    for (unsigned i = 0; i < 19200; i++) {
        poke(0xa0000 + i, 1);
        poke(0xa0000 + 19200 + i, 2);
    }
    shown();
    ck_assert_uint_eq(pixel(0, 0), colour(1));
    while (in(0x3da) & 8)
        pass_us(10);
    while (!(in(0x3da) & 8))
        pass_us(10);
    while (in(0x3da) & 8)
        pass_us(10);
    cr(0x0c, 19200 >> 8);
    display.refresh(display.adapter, &frame, &rows);
    ck_assert_uint_eq(pixel(0, 0), colour(1));
    cr(0x0d, 19200 & 0xff);
    display.refresh(display.adapter, &frame, &rows);
    ck_assert_uint_eq(pixel(319, 239), colour(1));
    while (!(in(0x3da) & 8))
        pass_us(10);
    display.refresh(display.adapter, &frame, &rows);
    for (int y = 0; y < 240; y++)
        for (int x = 0; x < 320; x++)
            ck_assert_uint_eq(pixel(x, y), colour(2));
}
END_TEST

/* -- The data path -- */

static uint8_t plane(unsigned number, uint32_t at)
{
    uint8_t mode = 0, was;
    out(0x3ce, 5);
    was = in(0x3cf);
    gr(5, mode);
    gr(4, (uint8_t)number);
    uint8_t value = peek(0xa0000 + at);
    gr(5, was);
    return value;
}

static void set_planes(uint32_t at, uint8_t p0, uint8_t p1, uint8_t p2, uint8_t p3)
{
    const uint8_t value[4] = {p0, p1, p2, p3};
    gr(5, 0);
    gr(1, 0);
    gr(3, 0);
    gr(8, 0xff);
    for (unsigned p = 0; p < 4; p++) {
        seq(2, (uint8_t)(1 << p));
        poke(0xa0000 + at, value[p]);
    }
    seq(2, 15);
}

static void check_planes(uint32_t at, uint8_t p0, uint8_t p1, uint8_t p2, uint8_t p3)
{
    ck_assert_uint_eq(plane(0, at), p0);
    ck_assert_uint_eq(plane(1, at), p1);
    ck_assert_uint_eq(plane(2, at), p2);
    ck_assert_uint_eq(plane(3, at), p3);
}

START_TEST(write_and_read_modes)
{
    set_mode(&mode_12);
    set_planes(10, 0x12, 0x34, 0x56, 0x78);
    check_planes(10, 0x12, 0x34, 0x56, 0x78);
    /* Mode 0: rotation, set/reset in two planes, the function, the mask. */
    peek(0xa000a);
    gr(0, 0x05);
    gr(1, 0x03);
    gr(3, 0x18 | 4); /* exclusive or, rotate by 4 */
    gr(8, 0xf0);
    poke(0xa000a, 0x0f);
    check_planes(10, 0x12 ^ 0xf0, 0x34, 0x56 ^ 0xf0, 0x78 ^ 0xf0);
    /* And, or. */
    set_planes(10, 0xcc, 0xcc, 0xcc, 0xcc);
    peek(0xa000a);
    gr(3, 0x08);
    poke(0xa000a, 0xaa);
    gr(3, 0x10);
    poke(0xa000b, 0xaa);
    check_planes(10, 0x88, 0x88, 0x88, 0x88);
    check_planes(11, 0xee, 0xee, 0xee, 0xee);
    /* Mode 1 copies the latches whatever the mask says. */
    set_planes(20, 1, 2, 3, 4);
    gr(5, 1);
    gr(8, 0);
    peek(0xa0014);
    seq(2, 0x0b);
    set_planes(21, 9, 9, 9, 9);
    gr(5, 1);
    peek(0xa0014);
    seq(2, 0x0b);
    poke(0xa0015, 0xff);
    seq(2, 0x0f);
    check_planes(21, 1, 2, 9, 4);
    /* Mode 2: a colour. */
    set_planes(22, 0, 0, 0xff, 0xff);
    gr(5, 2);
    gr(8, 0x18);
    peek(0xa0016);
    poke(0xa0016, 0x05);
    check_planes(22, 0x18, 0, 0xff, 0xe7);
    /* Mode 3: the data is a mask too, the colour is set/reset. */
    set_planes(23, 0, 0xff, 0, 0xff);
    gr(5, 3);
    gr(0, 0x09);
    gr(3, 1);
    gr(8, 0x3c);
    peek(0xa0017);
    poke(0xa0017, 0x1e); /* rotated: 0fh */
    check_planes(23, 0x0c, 0xf3, 0, 0xff);
    /* Read mode 1: where all planes that matter are as compared. */
    set_planes(24, 0xf0, 0xcc, 0xaa, 0xff);
    gr(5, 8);
    gr(2, 0x03);
    gr(7, 0x03);
    ck_assert_uint_eq(peek(0xa0018), 0xc0);
    gr(7, 0x07);
    ck_assert_uint_eq(peek(0xa0018), 0x40);
    gr(7, 0);
    ck_assert_uint_eq(peek(0xa0018), 0xff);
}
END_TEST

/* Chained bytes lie at every fourth address of their planes, and pass latches and masks. */
START_TEST(chained_memory)
{
    set_mode(&mode_13);
    for (unsigned i = 0; i < 8; i++)
        poke(0xa0000 + i, (uint8_t)(0x10 + i));
    for (unsigned i = 0; i < 8; i++)
        ck_assert_uint_eq(peek(0xa0000 + i), 0x10 + i);
    seq(4, 6);
    check_planes(0, 0x10, 0x11, 0x12, 0x13);
    check_planes(4, 0x14, 0x15, 0x16, 0x17);
    seq(4, 0x0e);
    gr(5, 0x41);
    peek(0xa0000);
    for (unsigned i = 0; i < 4; i++)
        poke(0xa0010 + i, 0);
    gr(5, 0x40);
    ck_assert_uint_eq(peek(0xa0012), 0x12);
    seq(2, 0x0b);
    poke(0xa0012, 0x77);
    ck_assert_uint_eq(peek(0xa0012), 0x12);
}
END_TEST

START_TEST(dac)
{
    set_mode(&mode_13);
    poke(0xa0000, 0x85);
    out(0x3c6, 0x0f);
    shown();
    ck_assert_uint_eq(pixel(0, 0), colour(5));
    out(0x3c6, 0xff);
    out(0x3c8, 0x85);
    out(0x3c9, 0xff);
    out(0x3c9, 1);
    shown();
    ck_assert_uint_eq(pixel(0, 0), colour(0x85)); /* two of three say nothing yet */
    ck_assert_uint_eq(in(0x3c7), 0);
    out(0x3c9, 2);
    shown();
    ck_assert_uint_eq(pixel(0, 0), 0xff0408);
    out(0x3c7, 0x85);
    ck_assert_uint_eq(in(0x3c7), 3);
    ck_assert_uint_eq(in(0x3c9), 0x3f);
    ck_assert_uint_eq(in(0x3c9), 1);
    ck_assert_uint_eq(in(0x3c9), 2);
    ck_assert_uint_eq(in(0x3c9), 0x86 & 63);
    /* Colour select fills in the upper bits of the 16 colours, or of all four upper ones. */
    set_mode(&mode_12);
    plot_12(0, 0, 9);
    ar(0x14, 0x0c);
    shown();
    ck_assert_uint_eq(pixel(0, 0), colour(0xc0 | mode_12.ar[9]));
    ar(0x10, 0x81);
    ar(0x14, 0x06);
    shown();
    ck_assert_uint_eq(pixel(0, 0), colour(0x60 | (mode_12.ar[9] & 15)));
}
END_TEST

/* -- Time -- */

static const struct {
    const struct mode *mode;
    unsigned frames; /* in 10 s */
} rates[] = {{&mode_13, 701}, {&mode_12, 599}, {&text_80, 701}, {&mode_x, 597}};

START_TEST(retraces)
{
    unsigned rises = 0, blank = 0, steps = 500000;
    bool before = true;
    set_mode(rates[_i].mode);
    for (unsigned i = 0; i < steps; i++) {
        uint8_t status = in(0x3da);
        rises += !before && status & 8;
        before = status & 8;
        blank += status & 1;
        ck_assert(!(status & 8) || status & 1);
        pass_us(20);
    }
    ck_assert_uint_ge(rises, rates[_i].frames - 1);
    ck_assert_uint_le(rises, rates[_i].frames + 1);
    ck_assert_uint_gt(blank, steps / 5);
    ck_assert_uint_lt(blank, steps / 2);
}
END_TEST

/* -- VBE and EDID -- */

START_TEST(flip_of_the_largest_mode)
{
    uint32_t half = 2560 * 1600 * 4, value = 0x123456;
    const uint16_t values[] = {0, 2560, 1600, 32, 0x41};
    struct display_rows rows;
    for (uint16_t i = 1; i < 5; i++)
        vbe(i, values[i]);
    memory_dma_write(bench.memory, LFB + half, &value, 4);
    shown();
    ck_assert_int_eq(frame.width, 2560);
    ck_assert_int_eq(frame.height, 1600);
    ck_assert_uint_eq(pixel(0, 0), 0);
    vbe(9, 1600);
    shown();
    ck_assert_uint_eq(pixel(0, 0), value);
    ck_assert_uint_eq(pixel(2559, 1599), 0);
    /* What is drawn on the other page is not seen, and costs nothing. */
    shown();
    shown();
    memory_dma_write(bench.memory, LFB, &value, 4);
    ck_assert(!display.refresh(display.adapter, &frame, &rows));
    vbe(9, 0);
    ck_assert(display.refresh(display.adapter, &frame, &rows));
    ck_assert_uint_eq(pixel(0, 0), value);
}
END_TEST

/* Sixty pictures a second of which little changes take less than a twentieth of a processor. */
START_TEST(refresh_costs_little)
{
    const uint16_t values[] = {0, 1920, 1080, 32, 0x41};
    struct display_rows rows;
    struct timespec from, to;
    for (uint16_t i = 1; i < 5; i++)
        vbe(i, values[i]);
    shown();
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &from);
    for (uint32_t i = 0; i < 600; i++) { /* ten seconds */
        memory_dma_write(bench.memory, LFB + i * 7680, &i, 4);
        ck_assert(display.refresh(display.adapter, &frame, &rows));
    }
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &to);
    int64_t ns = (to.tv_sec - from.tv_sec) * 1000000000ll + to.tv_nsec - from.tv_nsec;
    ck_assert_int_lt(ns, 500000000);
}
END_TEST

START_TEST(edid)
{
    uint8_t bytes[EDID_SIZE], sum = 0;
    for (unsigned i = 0; i < EDID_SIZE; i++) {
        bytes[i] = (uint8_t)memory_mmio_read(bench.memory, MMIO + i, 1);
        sum += bytes[i];
    }
    ck_assert_uint_eq(sum, 0);
    ck_assert_mem_eq(bytes, "\0\xff\xff\xff\xff\xff\xff\0", 8);
    ck_assert_uint_eq(bytes[18] << 8 | bytes[19], 0x104);
    /* The preferred timing. */
    const uint8_t *t = bytes + 54;
    unsigned width = t[2] | (t[4] & 0xf0u) << 4, height = t[5] | (t[7] & 0xf0u) << 4;
    unsigned h_blank = t[3] | (t[4] & 15u) << 8, v_blank = t[6] | (t[7] & 15u) << 8;
    ck_assert_uint_eq(width, 1280);
    ck_assert_uint_eq(height, 800);
    double hz = (t[0] | t[1] << 8) * 10000.0 / ((width + h_blank) * (height + v_blank));
    ck_assert(hz > 59.5 && hz < 60.5);
    ck_assert_uint_eq(memory_mmio_read(bench.memory, MMIO + EDID_SIZE, 1), 0xff);
}
END_TEST

START_TEST(state)
{
    static struct pci_bench other;
    static struct display_port other_display;
    set_mode(&mode_x);
    out(0x3c8, 3);
    out(0x3c9, 3);
    pci_bench_build(&other);
    vga_new(&other.devices, other.pci, DEVFN, other.io, other.memory, other.clock, &other_display,
            NULL, 0, "vga");
    pci_bench_copy_state(&other, &bench);
    pci_bench_free(&other);
}
END_TEST

static void setup(void)
{
    pthread_mutex_lock(&pci_bench_lock);
    pci_bench_build(&bench);
    vga_new(&bench.devices, bench.pci, DEVFN, bench.io, bench.memory, bench.clock, &display, NULL,
            0, "vga");
    pci_bench_start(&bench, DEVFN, 0, LFB);
    pci_config_write(bench.pci, DEVFN, PCI_BAR0 + 8, MMIO, 4);
}

static void teardown(void)
{
    pci_bench_free(&bench);
    pthread_mutex_unlock(&pci_bench_lock);
}

int main(void)
{
    Suite *suite = suite_create("vga-registers");
    TCase *cases = tcase_create("vga-registers");
    const TTest *const tests[] = {monochrome_text,
                                  text_attributes,
                                  text_split_and_smooth,
                                  page_flip_at_retrace,
                                  write_and_read_modes,
                                  chained_memory,
                                  dac,
                                  flip_of_the_largest_mode,
                                  refresh_costs_little,
                                  edid,
                                  state};
    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_set_timeout(cases, 60);
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        tcase_add_test(cases, tests[i]);
    tcase_add_loop_test(cases, graphics_modes, 0, sizeof pictures / sizeof *pictures);
    tcase_add_loop_test(cases, text_modes, 0, 4);
    tcase_add_loop_test(cases, split_and_panned_graphics, 0, 3);
    tcase_add_loop_test(cases, retraces, 0, sizeof rates / sizeof *rates);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
