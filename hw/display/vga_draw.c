/*
 * Composes the picture from video memory: geometry, colours, graphics and VBE modes (text modes:
 * vga_text.c).
 *
 * Called for each displayed frame. Graphics modes use the dirty log of video memory. A page that
 * was dirty is drawn in this refresh and in the next: CPUs learn a little later than the log that
 * their writes must be noted again, and what they wrote in between shows then.
 *
 * Scan lines that a mode repeats are one row of the picture: mode 13h is 320x200.
 */
#include "hw/display/vga_internal.h"

#include "hw/alloc.h"

#include <stdlib.h>
#include <string.h>

#define AR_MODE_COMPATIBLE_PAN 0x20 /* none below the line compare */
#define AR_MODE_PALETTE_45     0x80
#define GR_MODE_INTERLEAVED    0x20
#define GR_MODE_256            0x40
#define CR_MODE_ROW_BIT_0      0x01 /* 0: the scan within the row is address bit 13 */
#define CR_MODE_ROW_BIT_1      0x02 /* 0: and bit 14 */
#define CR_MODE_WRAP_15        0x20
#define CR_MODE_BYTES          0x40
#define CR_UNDERLINE_DWORDS    0x40
#define CR_MAX_SCAN_DOUBLE     0x80

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
    uint8_t value = vga->ar[index & vga->ar[AR_PLANE_ENABLE] & 15];
    if (vga->ar[AR_MODE] & AR_MODE_PALETTE_45)
        value = (uint8_t)((value & 0x0f) | (vga->ar[AR_COLOR_SELECT] & 3) << 4);
    value = (uint8_t)((value & 0x3f) | (vga->ar[AR_COLOR_SELECT] & 0x0c) << 4);
    return dac_colour(vga, value);
}

/* In 256-colour modes both halves of a pixel pass them; BIOSes make them pass unchanged. */
static uint32_t pair_colour(const struct vga *vga, unsigned pixel)
{
    unsigned enable = vga->ar[AR_PLANE_ENABLE] & 15;
    unsigned high = vga->ar[pixel >> 4 & enable] & 15, low = vga->ar[pixel & enable] & 15;
    return dac_colour(vga, high << 4 | low);
}

static void update_palette(struct vga *vga, enum vga_kind kind)
{
    static uint32_t (*const colour[])(const struct vga *vga, unsigned index) = {
        [VGA_BLANK] = dac_colour, [VGA_TEXT] = attribute_colour, [VGA_PLANAR] = attribute_colour,
        [VGA_256] = pair_colour,  [VGA_LINEAR] = dac_colour,
    };
    for (unsigned i = 0; i < 256; i++)
        vga->palette[i] = colour[kind](vga, i);
}

/* -- Geometry -- */

static struct vga_geometry vbe_geometry(const struct vga *vga)
{
    const uint16_t *vbe = vga->vbe;
    int depth = vbe[VBE_BPP];
    uint32_t pitch = vga_vbe_pitch(vga);
    struct vga_geometry g = {
        .kind = depth == 4 ? VGA_PLANAR : VGA_LINEAR,
        .width = vbe[VBE_XRES],
        .height = vbe[VBE_YRES],
        .pitch = pitch,
        .row_scans = 1,
        .line_compare = vbe[VBE_YRES],
        .depth = depth,
    };
    if (depth == 4) {
        g.pitch = vbe[VBE_VIRT_WIDTH] / 8;
        g.start = vbe[VBE_Y_OFFSET] * g.pitch + vbe[VBE_X_OFFSET] / 8;
        g.pan = g.pan_below = vbe[VBE_X_OFFSET] & 7;
    } else {
        g.start = vbe[VBE_Y_OFFSET] * pitch + vbe[VBE_X_OFFSET] * (uint32_t)((depth + 7) / 8);
    }
    return g;
}

static void text_geometry(const struct vga *vga, struct vga_geometry *g, int columns)
{
    g->kind = VGA_TEXT;
    g->cell_width = vga->seq[SEQ_CLOCKING] & 1 ? 8 : 9;
    g->cell_height = (vga->cr[CR_MAX_SCAN] & 31) + 1;
    g->width = (columns > VGA_MAX_COLUMNS ? VGA_MAX_COLUMNS : columns) * g->cell_width;
    if (g->height > VGA_MAX_ROWS * g->cell_height)
        g->height = VGA_MAX_ROWS * g->cell_height;
    g->preset_scan = vga->cr[CR_PRESET_ROW] & 31;
    if (g->cell_width == 9) /* 8: not at all */
        g->pan = vga->ar[AR_PANNING] >= 8 ? 0 : vga->ar[AR_PANNING] + 1;
}

static void graphics_geometry(const struct vga *vga, struct vga_geometry *g, int columns)
{
    int scans = (vga->cr[CR_MAX_SCAN] & 31) + 1;
    /* The scan within the row may select a bank (CGA): then it is a row of the picture. */
    bool row_bits = (vga->cr[CR_MODE] & 3) != 3;
    g->kind = vga->gr[GR_MODE] & GR_MODE_256 ? VGA_256 : VGA_PLANAR;
    g->row_scans = row_bits ? scans : 1;
    g->height /= row_bits ? 1 : scans;
    g->line_compare /= row_bits ? 1 : scans;
    g->width = columns * (g->kind == VGA_256 ? 4 : 8);
    g->depth = g->kind == VGA_256 ? 8 : 4;
    if (g->kind == VGA_256)
        g->pan >>= 1;
}

struct vga_geometry vga_current_geometry(const struct vga *vga)
{
    bool off = !(vga->ar_index & 0x20) || (vga->seq[SEQ_CLOCKING] & 0x20);
    if (vga_vbe_enabled(vga))
        return vbe_geometry(vga);
    const uint8_t *cr = vga->cr;
    uint8_t more = cr[CR_OVERFLOW];
    int lines = (cr[CR_V_DISPLAY_END] | (more & 0x02) << 7 | (more & 0x40) << 3) + 1;
    int compare = cr[CR_LINE_COMPARE] | (more & 0x10) << 4 | (cr[CR_MAX_SCAN] & 0x40) << 3;
    int doubled = cr[CR_MAX_SCAN] & CR_MAX_SCAN_DOUBLE ? 2 : 1;
    struct vga_geometry g = {
        .start = vga_start_address(vga) + (cr[CR_PRESET_ROW] >> 5 & 3u),
        .pitch = cr[CR_OFFSET] * 2u,
        .height = lines / doubled,
        .line_compare = (compare + 1) / doubled,
        .row_scans = 1,
        .pan = vga->ar[AR_PANNING] & 7,
        .addressing = cr[CR_MODE] << 8 | cr[CR_UNDERLINE],
        .cursor = cr[CR_CURSOR_START] << 8 | cr[CR_CURSOR_END],
    };
    int columns = cr[CR_H_DISPLAY_END] + 1;
    if (vga->gr[GR_MISC] & 1)
        graphics_geometry(vga, &g, columns);
    else
        text_geometry(vga, &g, columns);
    g.pan_below = vga->ar[AR_MODE] & AR_MODE_COMPATIBLE_PAN ? 0 : g.pan;
    if (off || g.width < 8 || g.height < 8 || g.width > VGA_MAX_WIDTH || g.height > VGA_MAX_HEIGHT)
        g = (struct vga_geometry){.kind = VGA_BLANK,
                                  .width = vga->width ? vga->width : 720,
                                  .height = vga->width ? vga->height : 400};
    return g;
}

/* True if the picture must be drawn anew; remembers what it depends on. */
static bool geometry_changed(struct vga *vga, const struct vga_geometry *g)
{
    bool changed = memcmp(g, &vga->geometry, sizeof *g) != 0;
    vga->geometry = *g;
    return changed;
}

/* -- Rows of graphics: each fills `out` with the row's pixels -- */

uint32_t vga_display_address(const struct vga *vga, uint32_t counter, int scan)
{
    uint8_t mode = vga->cr[CR_MODE];
    uint32_t address = counter & 0xffff;
    if (vga_vbe_enabled(vga))
        return counter & (VGA_RAM_SIZE / 4 - 1);
    if (vga->cr[CR_UNDERLINE] & CR_UNDERLINE_DWORDS)
        address = address << 2 | address >> 14;
    else if (!(mode & CR_MODE_BYTES))
        address = address << 1 | (address >> (mode & CR_MODE_WRAP_15 ? 15 : 13) & 1);
    if (!(mode & CR_MODE_ROW_BIT_0))
        address = (address & ~0x2000u) | (uint32_t)(scan & 1) << 13;
    if (!(mode & CR_MODE_ROW_BIT_1))
        address = (address & ~0x4000u) | (uint32_t)(scan >> 1 & 1) << 14;
    return address & 0xffff;
}

static void draw_planar_row(const struct vga *vga, const struct vga_geometry *g, uint32_t counter,
                            int scan, uint32_t *out)
{
    bool interleaved = vga->gr[GR_MODE] & GR_MODE_INTERLEAVED;
    for (int x = 0; x < g->width + 8; x += 8, counter++) {
        const uint8_t *planes = vga->ram + 4 * vga_display_address(vga, counter, scan);
        for (int i = 0; i < 8; i++) {
            unsigned index = 0;
            if (interleaved) {
                unsigned plane = i >> 2, shift = 6 - 2 * (i & 3);
                index = (planes[plane] >> shift & 3) | (planes[plane + 2] >> shift & 3) << 2;
            } else {
                for (unsigned plane = 0; plane < 4; plane++)
                    index |= (unsigned)(planes[plane] >> (7 - i) & 1) << plane;
            }
            out[x + i] = vga->palette[index];
        }
    }
}

static void draw_256_row(const struct vga *vga, const struct vga_geometry *g, uint32_t counter,
                         int scan, uint32_t *out)
{
    for (int x = 0; x < g->width + 8; x += 4, counter++) {
        const uint8_t *planes = vga->ram + 4 * vga_display_address(vga, counter, scan);
        for (int plane = 0; plane < 4; plane++)
            out[x + plane] = vga->palette[planes[plane]];
    }
}

static uint32_t expand(uint32_t value, unsigned bits)
{
    return bits == 5 ? value << 3 | value >> 2 : value << 2 | value >> 4;
}

static void draw_linear_row(const struct vga *vga, const struct vga_geometry *g, uint32_t address,
                            uint32_t *out)
{
    uint8_t wrapped[4 * VGA_MAX_WIDTH];
    const uint8_t *from = vga->ram + address;
    size_t length = (size_t)g->width * (size_t)((g->depth + 7) / 8);
    if (address + length > VGA_RAM_SIZE) {
        size_t piece = VGA_RAM_SIZE - address;
        memcpy(wrapped, from, piece);
        memcpy(wrapped + piece, vga->ram, length - piece);
        from = wrapped;
    }
    switch (g->depth) {
    case 8:
        for (int x = 0; x < g->width; x++)
            out[x] = vga->palette[from[x]];
        break;
    case 15:
        for (int x = 0; x < g->width; x++) {
            uint32_t value = from[2 * x] | (uint32_t)from[2 * x + 1] << 8;
            out[x] = expand(value >> 10 & 31, 5) << 16 | expand(value >> 5 & 31, 5) << 8 |
                     expand(value & 31, 5);
        }
        break;
    case 16:
        for (int x = 0; x < g->width; x++) {
            uint32_t value = from[2 * x] | (uint32_t)from[2 * x + 1] << 8;
            out[x] = expand(value >> 11, 5) << 16 | expand(value >> 5 & 63, 6) << 8 |
                     expand(value & 31, 5);
        }
        break;
    case 24:
        for (int x = 0; x < g->width; x++)
            out[x] = from[3 * x] | (uint32_t)from[3 * x + 1] << 8 | (uint32_t)from[3 * x + 2] << 16;
        break;
    default:
        memcpy(out, from, length);
        for (int x = 0; x < g->width; x++)
            out[x] &= 0xffffff;
    }
}

bool vga_is_dirty(const struct vga *vga, uint32_t first, uint32_t length)
{
    for (uint32_t page = first / GUEST_PAGE_SIZE; page <= (first + length - 1) / GUEST_PAGE_SIZE;
         page++) {
        uint32_t p = page % VGA_PAGES;
        if ((vga->dirty[p / 64] | vga->dirty_before[p / 64]) >> (p % 64) & 1)
            return true;
    }
    return false;
}

/* The row's counters are shown from a piece of memory; where the addresses wrap, from any. */
static bool row_is_dirty(const struct vga *vga, const struct vga_geometry *g, uint32_t start,
                         int scan)
{
    if (g->kind == VGA_LINEAR)
        return vga_is_dirty(vga, start, (uint32_t)g->width * (uint32_t)((g->depth + 7) / 8));
    uint32_t counters = (uint32_t)g->width / (g->kind == VGA_256 ? 4 : 8) + 1;
    uint32_t first = vga_display_address(vga, start, scan);
    uint32_t last = vga_display_address(vga, start + counters, scan);
    if (last < first)
        return vga_is_dirty(vga, 0, VGA_PLANAR_SIZE);
    return vga_is_dirty(vga, 4 * first, 4 * (last - first + 1));
}

static bool draw_graphics(struct vga *vga, const struct vga_geometry *g, bool all,
                          struct display_rows *rows)
{
    uint32_t scratch[VGA_MAX_WIDTH + 16];
    int first = g->height, last = -1;
    for (int y = 0; y < g->height; y++) {
        bool below = y >= g->line_compare;
        int row = below ? y - g->line_compare : y, scan = row % g->row_scans;
        uint32_t start = (below ? 0 : g->start) + (uint32_t)(row / g->row_scans) * g->pitch;
        uint32_t *out = vga->pixels + (size_t)y * (size_t)g->width;
        if (g->kind == VGA_LINEAR)
            start &= VGA_RAM_SIZE - 1;
        if (!all && !row_is_dirty(vga, g, start, scan))
            continue;
        if (g->kind == VGA_LINEAR) {
            draw_linear_row(vga, g, start, out);
        } else {
            (g->kind == VGA_256 ? draw_256_row : draw_planar_row)(vga, g, start, scan, scratch);
            memcpy(out, scratch + (below ? g->pan_below : g->pan), 4 * (size_t)g->width);
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
    struct vga_geometry g = vga_current_geometry(vga);
    bool all = geometry_changed(vga, &g) || vga->redraw;
    vga->redraw = false;
    vga->width = g.width;
    vga->height = g.height;
    fetch_dirty(vga);
    if (all)
        update_palette(vga, g.kind);

    bool changed = true;
    *rows = (struct display_rows){0, g.height};
    if (g.kind == VGA_TEXT) {
        changed = vga_draw_text(vga, &g, all, rows);
    } else if (g.kind == VGA_BLANK) {
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

void vga_draw_init(struct vga *vga, struct display_port *display)
{
    vga->pixels = alloc_zeroed((size_t)VGA_MAX_WIDTH * VGA_MAX_HEIGHT * sizeof *vga->pixels);
    vga->display = display;
    vga->redraw = true;
    *display = (struct display_port){refresh, invalidate, vga_text, vga};
}

void vga_draw_free(struct vga *vga)
{
    free(vga->pixels);
}
