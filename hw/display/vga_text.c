/*
 * Text modes: cells of characters from plane 0 with attributes from plane 1, glyphs from plane 2.
 *
 * Usually each cell is compared with what was drawn last, and drawn if it differs. Screens that are
 * split or scrolled by less than a character are drawn line by line.
 */
#include "hw/display/vga_internal.h"

#include <string.h>

#define BLINK_NS              (NS_PER_SECOND / 4) /* half a cursor period; attributes blink half as fast */
#define AR_MODE_LINE_GRAPHICS 0x04
#define AR_MODE_BLINK         0x08
#define CURSOR_OFF            0x20

/* Bits of the glyph's line, the leftmost in bit 7. */
static uint8_t glyph_line(const struct vga *vga, uint8_t character, uint8_t attribute, int line)
{
    static const uint16_t fonts[8] = {0x0000, 0x4000, 0x8000, 0xc000,
                                      0x2000, 0x6000, 0xa000, 0xe000};
    uint8_t select = vga->seq[SEQ_FONT];
    unsigned map_a = (select >> 2 & 3) | (select >> 3 & 4),
             map_b = (select & 3) | (select >> 2 & 4);
    uint32_t font = fonts[attribute & 8 ? map_a : map_b];
    return vga->ram[4 * (font + 32u * character + (uint32_t)line) + 2];
}

/* A cell as it looks now. */
struct cell {
    uint8_t character, attribute;
    bool cursor, hidden;
};

struct blink {
    bool cursor, hidden; /* the cursor shows; blinking characters do not */
};

static struct blink blink_phase(const struct vga *vga, uint64_t phase)
{
    return (struct blink){
        .cursor = !(vga->cr[CR_CURSOR_START] & CURSOR_OFF) && !(phase & 1),
        .hidden = (vga->ar[AR_MODE] & AR_MODE_BLINK) && (phase & 2),
    };
}

static struct cell cell_at(const struct vga *vga, uint32_t counter, struct blink blink)
{
    uint32_t cursor_at = (uint32_t)vga->cr[CR_CURSOR_HIGH] << 8 | vga->cr[CR_CURSOR_LOW];
    const uint8_t *planes = vga->ram + 4 * vga_display_address(vga, counter, 0);
    return (struct cell){
        .character = planes[0],
        .attribute = planes[1],
        .cursor = blink.cursor && (counter & 0xffff) == cursor_at,
        .hidden = blink.hidden && (planes[1] & 0x80),
    };
}

static void draw_cell_line(const struct vga *vga, const struct vga_geometry *g, struct cell cell,
                           int line, uint32_t *pixels)
{
    bool blinks = vga->ar[AR_MODE] & AR_MODE_BLINK;
    uint32_t foreground = vga->palette[cell.attribute & 15];
    uint32_t background = vga->palette[cell.attribute >> 4 & (blinks ? 7 : 15)];
    unsigned bits = (unsigned)glyph_line(vga, cell.character, cell.attribute, line) << 1;
    if ((vga->ar[AR_MODE] & AR_MODE_LINE_GRAPHICS) && (cell.character & 0xe0) == 0xc0)
        bits |= bits >> 1 & 1;
    if ((cell.attribute & 0x77) == 0x01 && line == (vga->cr[CR_UNDERLINE] & 31))
        bits = 0x1ff;
    if (cell.hidden)
        bits = 0;
    if (cell.cursor && line >= (vga->cr[CR_CURSOR_START] & 31) &&
        line <= (vga->cr[CR_CURSOR_END] & 31))
        bits = 0x1ff;
    for (int x = 0; x < g->cell_width; x++)
        pixels[x] = bits >> (8 - x) & 1 ? foreground : background;
}

static bool draw_cells(struct vga *vga, const struct vga_geometry *g, bool all, struct blink blink,
                       struct display_rows *rows)
{
    int columns = g->width / g->cell_width;
    int lines = (g->height + g->cell_height - 1) / g->cell_height;
    int first = lines, last = -1;

    for (int row = 0; row < lines; row++) {
        int top = row * g->cell_height;
        int height = g->height - top < g->cell_height ? g->height - top : g->cell_height;
        for (int column = 0; column < columns; column++) {
            uint32_t counter = g->start + (uint32_t)row * g->pitch + (uint32_t)column;
            struct cell cell = cell_at(vga, counter, blink);
            typeof(vga->cell[0]) *drawn = &vga->cell[row * VGA_MAX_COLUMNS + column];
            if (!all && drawn->character == cell.character && drawn->attribute == cell.attribute &&
                drawn->cursor == cell.cursor && drawn->blink == cell.hidden)
                continue;
            drawn->character = cell.character;
            drawn->attribute = cell.attribute;
            drawn->cursor = cell.cursor;
            drawn->blink = cell.hidden;
            for (int line = 0; line < height; line++)
                draw_cell_line(vga, g, cell, line,
                               vga->pixels + (size_t)(top + line) * (size_t)g->width +
                                   column * g->cell_width);
            if (row < first)
                first = row;
            last = row;
        }
    }
    int end = (last + 1) * g->cell_height;
    rows->first = first * g->cell_height;
    rows->count = (end < g->height ? end : g->height) - rows->first;
    return last >= 0;
}

static void draw_line(struct vga *vga, const struct vga_geometry *g, int y, struct blink blink)
{
    uint32_t scratch[VGA_MAX_WIDTH + 32];
    bool below = y >= g->line_compare;
    int line = below ? y - g->line_compare : y + g->preset_scan;
    uint32_t counter = (below ? 0 : g->start) + (uint32_t)(line / g->cell_height) * g->pitch;
    for (int x = 0; x < g->width + g->cell_width; x += g->cell_width, counter++)
        draw_cell_line(vga, g, cell_at(vga, counter, blink), line % g->cell_height, scratch + x);
    memcpy(vga->pixels + (size_t)y * (size_t)g->width, scratch + (below ? g->pan_below : g->pan),
           4 * (size_t)g->width);
}

bool vga_draw_text(struct vga *vga, const struct vga_geometry *g, bool all,
                   struct display_rows *rows)
{
    uint64_t phase = clock_now(vga->clock) / BLINK_NS;
    uint64_t cursor = phase << 16 | (uint64_t)vga->cr[CR_CURSOR_HIGH] << 8 | vga->cr[CR_CURSOR_LOW];
    struct blink blink = blink_phase(vga, phase);
    bool fine = g->pan || g->preset_scan || g->line_compare < g->height;
    all |= vga->fonts_written;
    vga->fonts_written = false;
    if (!fine)
        return draw_cells(vga, g, all, blink, rows);
    if (!all && cursor == vga->cursor && !vga_is_dirty(vga, 0, VGA_PLANAR_SIZE))
        return false;
    for (int y = 0; y < g->height; y++)
        draw_line(vga, g, y, blink);
    vga->cursor = cursor;
    return true;
}

/* -- As characters -- */

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

size_t vga_text(void *adapter, char *buffer, size_t size)
{
    struct vga *vga = adapter;
    struct vga_geometry g = vga_current_geometry(vga);
    size_t used = 0;
    if (g.kind != VGA_TEXT)
        return 0;
    for (int row = 0; row < (g.height + g.cell_height - 1) / g.cell_height; row++) {
        size_t end = used;
        for (int column = 0; column < g.width / g.cell_width && used + 5 < size; column++) {
            uint32_t counter = g.start + (uint32_t)row * g.pitch + (uint32_t)column;
            uint8_t character = vga->ram[4 * vga_display_address(vga, counter, 0)];
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
