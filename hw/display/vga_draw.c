/*
 * Composes the picture from video memory: text, planar, chained and VBE modes.
 *
 * Called for each displayed frame. Text modes compare each cell with what was drawn last; graphics
 * modes use the dirty log of video memory. A page that was dirty is drawn in this refresh and in
 * the next: CPUs learn a little later than the log that their writes must be noted again, and what
 * they wrote in between shows then.
 */
#include "hw/display/vga_internal.h"

#include "hw/alloc.h"

#include <stdlib.h>
#include <string.h>

#define BLINK_NS              (NS_PER_SECOND / 4) /* half a cursor period; attributes blink half as fast */
#define AR_MODE_LINE_GRAPHICS 0x04
#define AR_MODE_BLINK         0x08
#define AR_MODE_PALETTE_45    0x80

/* What is on the screen now; the picture is drawn anew when it changes. */
struct geometry {
    enum kind { KIND_BLANK, KIND_TEXT, KIND_PLANAR, KIND_CHAIN, KIND_LINEAR } kind;
    int width, height;
    uint32_t start; /* address counter (or byte, linear modes) of the first row */
    uint32_t pitch; /* from row to row, same unit */
    int cell_width, cell_height;
    int row_scans;    /* picture rows made from one address row (2 on CGA-like modes) */
    int line_compare; /* first picture row that shows address 0 again */
    int depth;
};

/* -- Palette -- */

static uint32_t dac_colour(const struct vga *vga, unsigned index)
{
    bool eight_bits = vga_vbe_enabled(vga) && vga->vbe[VBE_ENABLE] & VBE_8BIT_DAC;
    const uint8_t *rgb = vga->dac[index & vga->dac_mask];
    uint32_t colour = 0;
    for (unsigned i = 0; i < 3; i++)
        colour = colour << 8 | (eight_bits ? rgb[i] : (uint32_t)(rgb[i] << 2 | rgb[i] >> 4));
    return colour;
}

/* The 16 attribute registers lead into the DAC. */
static uint32_t attribute_colour(const struct vga *vga, unsigned index)
{
    uint8_t value = vga->ar[index & 15];
    if (vga->ar[AR_MODE] & AR_MODE_PALETTE_45)
        value = (uint8_t)((value & 0x0f) | (vga->ar[AR_COLOR_SELECT] & 3) << 4);
    value = (uint8_t)((value & 0x3f) | (vga->ar[AR_COLOR_SELECT] & 0x0c) << 4);
    return dac_colour(vga, value);
}

static void update_palette(struct vga *vga, bool attributes)
{
    for (unsigned i = 0; i < 256; i++)
        vga->palette[i] = attributes ? attribute_colour(vga, i) : dac_colour(vga, i);
}

/* -- Geometry -- */

static struct geometry vbe_geometry(const struct vga *vga)
{
    const uint16_t *vbe = vga->vbe;
    int depth = vbe[VBE_BPP];
    uint32_t pitch = vga_vbe_pitch(vga);
    struct geometry g = {
        .kind = depth == 4 ? KIND_PLANAR : KIND_LINEAR,
        .width = vbe[VBE_XRES],
        .height = vbe[VBE_YRES],
        .pitch = depth == 4 ? pitch / 4 : pitch,
        .row_scans = 1,
        .line_compare = vbe[VBE_YRES],
        .depth = depth,
    };
    if (depth == 4) {
        g.pitch = vbe[VBE_VIRT_WIDTH] / 8;
        g.start = vbe[VBE_Y_OFFSET] * g.pitch + vbe[VBE_X_OFFSET] / 8;
    } else {
        g.start = vbe[VBE_Y_OFFSET] * pitch + vbe[VBE_X_OFFSET] * (uint32_t)((depth + 7) / 8);
    }
    return g;
}

static struct geometry text_geometry(const struct vga *vga, int lines, int columns)
{
    struct geometry g = {.kind = KIND_TEXT};
    g.cell_width = vga->seq[SEQ_CLOCKING] & 1 ? 8 : 9;
    g.cell_height = (vga->cr[CR_MAX_SCAN] & 31) + 1;
    int rows = lines / g.cell_height;
    if (columns > VGA_MAX_COLUMNS)
        columns = VGA_MAX_COLUMNS;
    if (rows > VGA_MAX_ROWS)
        rows = VGA_MAX_ROWS;
    g.width = columns * g.cell_width;
    g.height = rows * g.cell_height;
    return g;
}

static struct geometry graphics_geometry(const struct vga *vga, int lines, int columns)
{
    struct geometry g = {.kind = vga->gr[GR_MODE] & 0x40 ? KIND_CHAIN : KIND_PLANAR};
    int scans = (vga->cr[CR_MAX_SCAN] & 31) + 1;
    bool row_bits = (vga->cr[CR_MODE] & 3) != 3; /* the scan within the row selects a bank (CGA) */
    if (vga->cr[CR_MAX_SCAN] & 0x80)
        lines /= 2;
    g.row_scans = row_bits ? scans : 1;
    g.height = row_bits ? lines : lines / scans;
    g.width = columns * (g.kind == KIND_CHAIN ? 4 : 8);
    g.depth = g.kind == KIND_CHAIN ? 8 : 4;
    if (g.line_compare == 0) {
        int compare = vga->cr[CR_LINE_COMPARE] | (vga->cr[CR_OVERFLOW] & 0x10) << 4 |
                      (vga->cr[CR_MAX_SCAN] & 0x40) << 3;
        int divisor = (vga->cr[CR_MAX_SCAN] & 0x80 ? 2 : 1) * (row_bits ? 1 : scans);
        g.line_compare = (compare + 1) / divisor;
    }
    return g;
}

static struct geometry current_geometry(const struct vga *vga)
{
    bool off = !(vga->ar_index & 0x20) || (vga->seq[SEQ_CLOCKING] & 0x20);
    if (vga_vbe_enabled(vga))
        return vbe_geometry(vga);
    int lines = (vga->cr[CR_V_DISPLAY_END] | (vga->cr[CR_OVERFLOW] & 0x02) << 7 |
                 (vga->cr[CR_OVERFLOW] & 0x40) << 3) +
                1;
    int columns = vga->cr[CR_H_DISPLAY_END] + 1;
    struct geometry g = vga->gr[GR_MISC] & 1 ? graphics_geometry(vga, lines, columns)
                                             : text_geometry(vga, lines, columns);
    g.start = (uint32_t)vga->cr[CR_START_HIGH] << 8 | vga->cr[CR_START_LOW];
    g.pitch = vga->cr[CR_OFFSET] * 2u;
    if (g.width < 8 || g.height < 8 || g.width > VGA_MAX_WIDTH || g.height > VGA_MAX_HEIGHT)
        off = true;
    if (off) {
        bool sensible = vga->width > 0;
        g = (struct geometry){.kind = KIND_BLANK,
                              .width = sensible ? vga->width : 720,
                              .height = sensible ? vga->height : 400};
    }
    return g;
}

/* True if the picture must be drawn anew; remembers what it depends on. */
static bool geometry_changed(struct vga *vga, const struct geometry *g)
{
    uint64_t now[4] = {
        (uint64_t)g->kind << 48 | (uint64_t)g->width << 24 | (uint64_t)g->height,
        (uint64_t)g->start << 32 | g->pitch,
        (uint64_t)g->cell_height << 40 | (uint64_t)g->cell_width << 32 |
            (uint64_t)g->row_scans << 24 | (uint64_t)g->depth << 16 | vga->ar[AR_PANNING],
        (uint64_t)g->line_compare << 32 | (uint64_t)vga->cr[CR_MODE] << 16 | vga->cr[CR_UNDERLINE],
    };
    bool changed = memcmp(now, vga->geometry, sizeof now) != 0;
    memcpy(vga->geometry, now, sizeof now);
    return changed;
}

/* -- Text -- */

static const uint8_t *glyph(const struct vga *vga, uint8_t character, uint8_t attribute)
{
    static const uint16_t fonts[8] = {0x0000, 0x4000, 0x8000, 0xc000,
                                      0x2000, 0x6000, 0xa000, 0xe000};
    uint8_t select = vga->seq[SEQ_FONT];
    unsigned map_a = (select >> 2 & 3) | (select >> 3 & 4),
             map_b = (select & 3) | (select >> 2 & 4);
    unsigned font = fonts[attribute & 8 ? map_a : map_b];
    return vga->ram + 4 * (font + 32u * character) + 2;
}

static void draw_cell(struct vga *vga, const struct geometry *g, int column, int row,
                      uint8_t character, uint8_t attribute, bool cursor, bool hidden)
{
    const uint8_t *font = glyph(vga, character, attribute);
    bool blinks = vga->ar[AR_MODE] & AR_MODE_BLINK;
    uint32_t foreground = vga->palette[attribute & 15];
    uint32_t background = vga->palette[attribute >> 4 & (blinks ? 7 : 15)];
    bool extend = (vga->ar[AR_MODE] & AR_MODE_LINE_GRAPHICS) && (character & 0xe0) == 0xc0;
    int cursor_first = vga->cr[CR_CURSOR_START] & 31, cursor_last = vga->cr[CR_CURSOR_END] & 31;
    uint32_t *pixels =
        vga->pixels + (size_t)row * g->cell_height * g->width + column * g->cell_width;

    for (int line = 0; line < g->cell_height; line++, pixels += g->width) {
        unsigned bits = (unsigned)font[4 * line] << 1;
        if (extend && bits & 2)
            bits |= 1;
        if (hidden)
            bits = 0;
        if (cursor && line >= cursor_first && line <= cursor_last)
            bits = 0x1ff;
        for (int x = 0; x < g->cell_width; x++)
            pixels[x] = bits >> (8 - x) & 1 ? foreground : background;
    }
}

/* Index into video memory of the character cell with this address counter. */
static uint32_t cell_address(const struct vga *vga, uint32_t counter)
{
    uint32_t address = vga->cr[CR_MODE] & 0x40 ? counter : counter << 1; /* byte or word mode */
    return 4 * (address & 0xffff);
}

static bool draw_text(struct vga *vga, const struct geometry *g, bool all,
                      struct display_rows *rows)
{
    int columns = g->width / g->cell_width, lines = g->height / g->cell_height;
    uint64_t phase = clock_now(vga->clock) / BLINK_NS;
    uint32_t cursor_at = (uint32_t)vga->cr[CR_CURSOR_HIGH] << 8 | vga->cr[CR_CURSOR_LOW];
    bool cursor_on = !(vga->cr[CR_CURSOR_START] & 0x20) && !(phase & 1);
    bool blink_hidden = (vga->ar[AR_MODE] & AR_MODE_BLINK) && (phase & 2);
    int first = lines, last = -1;

    for (int row = 0; row < lines; row++) {
        for (int column = 0; column < columns; column++) {
            uint32_t counter = (g->start + (uint32_t)row * g->pitch + (uint32_t)column) & 0xffff;
            uint32_t address = cell_address(vga, counter);
            uint8_t character = vga->ram[address], attribute = vga->ram[address + 1];
            bool cursor = cursor_on && counter == cursor_at;
            bool hidden = blink_hidden && (attribute & 0x80);
            typeof(vga->cell[0]) *cell = &vga->cell[row * VGA_MAX_COLUMNS + column];
            if (!all && cell->character == character && cell->attribute == attribute &&
                cell->cursor == cursor && cell->blink == hidden)
                continue;
            cell->character = character;
            cell->attribute = attribute;
            cell->cursor = cursor;
            cell->blink = hidden;
            draw_cell(vga, g, column, row, character, attribute, cursor, hidden);
            if (row < first)
                first = row;
            last = row;
        }
    }
    *rows = (struct display_rows){first * g->cell_height, (last - first + 1) * g->cell_height};
    return last >= 0;
}

/* Does the font plane or anything else outside the cells' first two planes hold fresh data? The
 * dirty log cannot tell planes apart, so a change in the pages of the fonts redraws the text. */
static bool fonts_dirty(const struct vga *vga)
{
    /* Text lives in the first 32 KiB of addresses x 4 planes at most; fonts share these pages. A
     * font load touches pages beyond the visible text too: the last page of font 0 is a good
     * witness. */
    const unsigned witness = 4 * (32 * 255) / GUEST_PAGE_SIZE;
    return vga->dirty[witness / 64] >> (witness % 64) & 1;
}

/* -- Graphics rows: each fills `out` with the row's pixels -- */

static void draw_planar_row(const struct vga *vga, const struct geometry *g, uint32_t counter,
                            int scan, uint32_t *out)
{
    bool interleaved = vga->gr[GR_MODE] & 0x20;
    uint8_t enable = vga->ar[AR_PLANE_ENABLE] & 15;
    for (int x = 0; x < g->width + 8; x += 8, counter++) {
        uint32_t address = counter;
        if (vga->cr[CR_UNDERLINE] & 0x40)
            address <<= 2;
        else if (!(vga->cr[CR_MODE] & 0x40))
            address <<= 1;
        if (!(vga->cr[CR_MODE] & 1))
            address = (address & ~0x2000u) | (uint32_t)(scan & 1) << 13;
        if (!(vga->cr[CR_MODE] & 2))
            address = (address & ~0x4000u) | (uint32_t)(scan >> 1 & 1) << 14;
        if (vga_vbe_enabled(vga))
            address = counter & (VGA_RAM_SIZE / 4 - 1);
        else
            address &= 0xffff;
        const uint8_t *planes = vga->ram + 4 * address;
        for (int i = 0; i < 8; i++) {
            unsigned index = 0;
            if (interleaved) {
                unsigned plane = i >> 2, shift = 6 - 2 * (i & 3);
                index = (planes[plane] >> shift & 3) | (planes[plane + 2] >> shift & 3) << 2;
            } else {
                for (unsigned plane = 0; plane < 4; plane++)
                    index |= (unsigned)(planes[plane] >> (7 - i) & 1) << plane;
            }
            out[x + i] = vga->palette[index & enable];
        }
    }
}

static void draw_chain_row(const struct vga *vga, const struct geometry *g, uint32_t counter,
                           uint32_t *out)
{
    uint32_t address = counter * 4;
    for (int x = 0; x < g->width + 8; x++)
        out[x] = vga->palette[vga->ram[(address + (uint32_t)x) & (VGA_PLANAR_SIZE - 1)]];
}

static uint32_t expand(uint32_t value, unsigned bits)
{
    return bits == 5 ? value << 3 | value >> 2 : value << 2 | value >> 4;
}

/* Source bytes may wrap at the end of video memory, so pixels are read one by one through a mask.
 */
static void draw_linear_row(const struct vga *vga, const struct geometry *g, uint32_t address,
                            uint32_t *out)
{
    const uint8_t *ram = vga->ram;
    const uint32_t mask = VGA_RAM_SIZE - 1;
    uint32_t bytes = (uint32_t)(g->depth + 7) / 8;
    if (g->depth == 32 && !(address & 3) && address + 4u * (uint32_t)g->width <= VGA_RAM_SIZE) {
        memcpy(out, ram + address, 4 * (size_t)g->width);
        return;
    }
    for (int x = 0; x < g->width; x++, address += bytes) {
        uint32_t value = 0;
        for (uint32_t i = 0; i < bytes; i++)
            value |= (uint32_t)ram[(address + i) & mask] << (8 * i);
        switch (g->depth) {
        case 8:
            value = vga->palette[value];
            break;
        case 15:
            value = expand(value >> 10 & 31, 5) << 16 | expand(value >> 5 & 31, 5) << 8 |
                    expand(value & 31, 5);
            break;
        case 16:
            value = expand(value >> 11, 5) << 16 | expand(value >> 5 & 63, 6) << 8 |
                    expand(value & 31, 5);
            break;
        }
        out[x] = value & 0xffffff;
    }
}

static bool row_is_dirty(const struct vga *vga, uint32_t first, uint32_t length)
{
    for (uint32_t page = first / GUEST_PAGE_SIZE; page <= (first + length - 1) / GUEST_PAGE_SIZE;
         page++) {
        uint32_t p = page % VGA_PAGES;
        if ((vga->dirty[p / 64] | vga->dirty_before[p / 64]) >> (p % 64) & 1)
            return true;
    }
    return false;
}

static bool draw_graphics(struct vga *vga, const struct geometry *g, bool all,
                          struct display_rows *rows)
{
    uint32_t scratch[VGA_MAX_WIDTH + 16];
    int pan = g->kind == KIND_LINEAR ? 0 : vga->ar[AR_PANNING] & 7;
    if (g->kind == KIND_CHAIN)
        pan >>= 1;
    int first = g->height, last = -1;
    for (int y = 0; y < g->height; y++) {
        bool below = y >= g->line_compare;
        uint32_t line = (uint32_t)((below ? y - g->line_compare : y) / g->row_scans);
        uint32_t address = (below ? 0 : g->start) + line * g->pitch;
        uint32_t unit = g->kind == KIND_LINEAR ? 1 : 4;
        /* CGA-like banks and word modes spread a row over memory: those small modes draw always. */
        bool spread = g->row_scans > 1 || (g->kind == KIND_PLANAR && !(vga->cr[CR_MODE] & 0x40) &&
                                           !vga_vbe_enabled(vga));
        if (!all && !spread && !row_is_dirty(vga, address * unit, (g->pitch ? g->pitch : 1) * unit))
            continue;
        uint32_t *out = vga->pixels + (size_t)y * g->width;
        if (g->kind == KIND_LINEAR) {
            draw_linear_row(vga, g, address & (VGA_RAM_SIZE - 1), out);
        } else {
            if (g->kind == KIND_CHAIN)
                draw_chain_row(vga, g, address, scratch);
            else
                draw_planar_row(vga, g, address, y % g->row_scans, scratch);
            memcpy(out, scratch + pan, 4 * (size_t)g->width);
        }
        if (y < first)
            first = y;
        last = y;
    }
    *rows = (struct display_rows){first, last - first + 1};
    return last >= 0;
}

/* -- The display port -- */

static void fetch_dirty(struct vga *vga)
{
    memcpy(vga->dirty_before, vga->dirty, sizeof vga->dirty);
    region_fetch_dirty(vga->pci.bar[0].region, 0, VGA_PAGES, vga->dirty);
}

static bool refresh(void *adapter, struct frame *frame, struct display_rows *rows)
{
    struct vga *vga = adapter;
    struct geometry g = current_geometry(vga);
    bool all = geometry_changed(vga, &g) || vga->redraw || g.width != vga->width ||
               g.height != vga->height;
    vga->redraw = false;
    vga->width = g.width;
    vga->height = g.height;
    fetch_dirty(vga);
    if (all)
        update_palette(vga, g.kind == KIND_TEXT || g.kind == KIND_PLANAR);

    bool changed = true;
    *rows = (struct display_rows){0, g.height};
    if (g.kind == KIND_TEXT) {
        changed = draw_text(vga, &g, all || fonts_dirty(vga), rows);
    } else if (g.kind == KIND_BLANK) {
        if (all)
            memset(vga->pixels, 0, 4 * (size_t)g.width * (size_t)g.height);
        changed = all;
    } else {
        changed = draw_graphics(vga, &g, all, rows);
    }
    *frame = (struct frame){vga->pixels, g.width, g.height, g.width};
    return changed;
}

static void invalidate(void *adapter)
{
    ((struct vga *)adapter)->redraw = true;
}

/* Code page 437 above ASCII, as UTF-8 needs it. */
static const uint16_t cp437[128] = {
    0x00c7, 0x00fc, 0x00e9, 0x00e2, 0x00e4, 0x00e0, 0x00e5, 0x00e7, 0x00ea, 0x00eb, 0x00e8, 0x00ef,
    0x00ee, 0x00ec, 0x00c4, 0x00c5, 0x00c9, 0x00e6, 0x00c6, 0x00f4, 0x00f6, 0x00f2, 0x00fb, 0x00f9,
    0x00ff, 0x00d6, 0x00dc, 0x00a2, 0x00a3, 0x00a5, 0x20a7, 0x0192, 0x00e1, 0x00ed, 0x00f3, 0x00fa,
    0x00f1, 0x00d1, 0x00aa, 0x00ba, 0x00bf, 0x2310, 0x00ac, 0x00bd, 0x00bc, 0x00a1, 0x00ab, 0x00bb,
    0x2591, 0x2592, 0x2593, 0x2502, 0x2524, 0x2561, 0x2562, 0x2556, 0x2555, 0x2563, 0x2551, 0x2557,
    0x255d, 0x255c, 0x255b, 0x2510, 0x2514, 0x2534, 0x252c, 0x251c, 0x2500, 0x253c, 0x255e, 0x255f,
    0x255a, 0x2554, 0x2569, 0x2566, 0x2560, 0x2550, 0x256c, 0x2567, 0x2568, 0x2564, 0x2565, 0x2559,
    0x2558, 0x2552, 0x2553, 0x256b, 0x256a, 0x2518, 0x250c, 0x2588, 0x2584, 0x258c, 0x2590, 0x2580,
    0x03b1, 0x00df, 0x0393, 0x03c0, 0x03a3, 0x03c3, 0x00b5, 0x03c4, 0x03a6, 0x0398, 0x03a9, 0x03b4,
    0x221e, 0x03c6, 0x03b5, 0x2229, 0x2261, 0x00b1, 0x2265, 0x2264, 0x2320, 0x2321, 0x00f7, 0x2248,
    0x00b0, 0x2219, 0x00b7, 0x221a, 0x207f, 0x00b2, 0x25a0, 0x00a0,
};

static size_t put_utf8(char *out, uint8_t character)
{
    unsigned code = character >= 128 ? cp437[character - 128] : character;
    if (code < 32 || code == 127)
        code = ' ';
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xc0 | code >> 6);
        out[1] = (char)(0x80 | (code & 63));
        return 2;
    }
    out[0] = (char)(0xe0 | code >> 12);
    out[1] = (char)(0x80 | (code >> 6 & 63));
    out[2] = (char)(0x80 | (code & 63));
    return 3;
}

static size_t text(void *adapter, char *buffer, size_t size)
{
    struct vga *vga = adapter;
    struct geometry g = current_geometry(vga);
    size_t used = 0;
    if (g.kind != KIND_TEXT)
        return 0;
    for (int row = 0; row < g.height / g.cell_height; row++) {
        size_t end = used;
        for (int column = 0; column < g.width / g.cell_width && used + 5 < size; column++) {
            uint32_t counter = g.start + (uint32_t)row * g.pitch + (uint32_t)column;
            uint8_t character = vga->ram[cell_address(vga, counter & 0xffff)];
            used += put_utf8(buffer + used, character);
            if (character != ' ' && character != 0)
                end = used;
        }
        used = end; /* without trailing blanks */
        if (used + 2 < size)
            buffer[used++] = '\n';
    }
    buffer[used] = 0;
    return used;
}

void vga_draw_init(struct vga *vga, struct display_port *display)
{
    vga->pixels = alloc_zeroed((size_t)VGA_MAX_WIDTH * VGA_MAX_HEIGHT * sizeof *vga->pixels);
    vga->display = display;
    vga->redraw = true;
    *display = (struct display_port){refresh, invalidate, text, vga};
}

void vga_draw_free(struct vga *vga)
{
    free(vga->pixels);
}
