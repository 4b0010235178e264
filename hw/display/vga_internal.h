/* The VGA's registers and memory, shared by vga.c (register and memory access), vga_timing.c (where
 * the beam is), vga_vbe.c (Bochs VBE registers), vga_draw.c (composing the picture) and vga_text.c
 * (text modes). */
#ifndef DOPPEL_HW_VGA_INTERNAL_H
#define DOPPEL_HW_VGA_INTERNAL_H

#include "hw/display/edid.h"
#include "hw/display/vga.h"

#define VGA_RAM_SIZE    (32u << 20)  /* two pictures of the largest mode */
#define VGA_PLANAR_SIZE (256u << 10) /* what the legacy windows reach: 4 planes of 64 KiB */
#define VGA_PAGES       (VGA_RAM_SIZE / GUEST_PAGE_SIZE)
#define VGA_MAX_WIDTH   2560
#define VGA_MAX_HEIGHT  1600
#define VGA_MAX_COLUMNS 256
#define VGA_MAX_ROWS    128

enum { SEQ_RESET, SEQ_CLOCKING, SEQ_MAP_MASK, SEQ_FONT, SEQ_MEMORY_MODE, SEQ_COUNT = 8 };
enum {
    GR_SET_RESET,
    GR_ENABLE_SET_RESET,
    GR_COLOR_COMPARE,
    GR_ROTATE,
    GR_READ_MAP,
    GR_MODE,
    GR_MISC,
    GR_COLOR_DONT_CARE,
    GR_BIT_MASK,
    GR_COUNT = 16
};
enum {
    CR_H_TOTAL,
    CR_H_DISPLAY_END,
    CR_V_TOTAL = 6,
    CR_OVERFLOW = 7,
    CR_PRESET_ROW = 8,
    CR_MAX_SCAN = 9,
    CR_CURSOR_START = 10,
    CR_CURSOR_END = 11,
    CR_START_HIGH = 12,
    CR_START_LOW = 13,
    CR_CURSOR_HIGH = 14,
    CR_CURSOR_LOW = 15,
    CR_V_SYNC_START = 16,
    CR_V_SYNC_END = 17,
    CR_V_DISPLAY_END = 18,
    CR_OFFSET = 19,
    CR_UNDERLINE = 20,
    CR_MODE = 23,
    CR_LINE_COMPARE = 24,
    CR_COUNT = 32
};
enum { AR_MODE = 16, AR_OVERSCAN, AR_PLANE_ENABLE, AR_PANNING, AR_COLOR_SELECT, AR_COUNT };
enum {
    VBE_ID,
    VBE_XRES,
    VBE_YRES,
    VBE_BPP,
    VBE_ENABLE,
    VBE_BANK,
    VBE_VIRT_WIDTH,
    VBE_VIRT_HEIGHT,
    VBE_X_OFFSET,
    VBE_Y_OFFSET,
    VBE_MEMORY_64K,
    VBE_COUNT
};

#define VBE_ENABLED          0x01
#define VBE_GET_CAPABILITIES 0x02
#define VBE_8BIT_DAC         0x20
#define VBE_LINEAR           0x40
#define VBE_NO_CLEAR         0x80

/* What is on the screen; the picture is drawn anew when it changes. */
struct vga_geometry {
    enum vga_kind { VGA_BLANK, VGA_TEXT, VGA_PLANAR, VGA_256, VGA_LINEAR } kind;
    int width, height;
    uint32_t start; /* address counter (or byte, linear modes) of the first row */
    uint32_t pitch; /* from row to row, same unit */
    int cell_width, cell_height;
    int row_scans;    /* picture rows made from one address row (2 on CGA-like modes) */
    int line_compare; /* first picture row that shows address 0 again */
    int depth;
    int pan, pan_below; /* pixels to the left: above and below the line compare */
    int preset_scan;    /* of the first text row */
    int addressing;     /* CRTC registers that say how counters become addresses */
    int cursor;         /* its shape */
};

struct vga {
    struct pci_device pci;
    struct clock *clock;
    struct memory *memory;
    uint8_t *ram; /* byte of plane p at address a: ram[4 * a + p]; linear modes use it as it is */
    struct region *legacy;
    struct access_ops legacy_ops;

    uint8_t misc, feature;
    uint8_t seq_index, seq[SEQ_COUNT];
    uint8_t gr_index, gr[GR_COUNT];
    uint8_t cr_index, cr[CR_COUNT];
    uint8_t ar_index, ar[AR_COUNT];
    bool ar_data; /* the next write to 0x3c0 is data */
    uint8_t dac_mask, dac_read_index, dac_write_index, dac_component, dac_state;
    uint8_t dac[256][3], dac_given[2]; /* components wait for the third one */
    uint8_t latch[4];
    uint16_t vbe_index, vbe[VBE_COUNT];

    uint8_t edid[EDID_SIZE];

    /* -- Picture (not state) -- */
    struct display_port *display;
    uint32_t *pixels;  /* VGA_MAX_WIDTH * VGA_MAX_HEIGHT */
    int width, height; /* of the last picture */
    bool redraw;       /* everything: mode or palette changed */
    bool fonts_written;
    struct vga_geometry geometry; /* of the last picture */
    uint64_t cursor;              /* blink phase and place in a text picture drawn by lines */
    uint64_t start_frame; /* when the start address was written last, and what it was before */
    uint16_t start_before;
    uint64_t dirty[VGA_PAGES / 64], dirty_before[VGA_PAGES / 64];
    uint32_t palette[256]; /* DAC colours as pixels */
    struct {
        uint8_t character, attribute;
        bool cursor, blink;
    } cell[VGA_MAX_ROWS * VGA_MAX_COLUMNS]; /* as drawn */
};

static inline bool vga_vbe_enabled(const struct vga *vga)
{
    return vga->vbe[VBE_ENABLE] & VBE_ENABLED;
}

static inline uint16_t vga_start_registers(const struct vga *vga)
{
    return (uint16_t)(vga->cr[CR_START_HIGH] << 8 | vga->cr[CR_START_LOW]);
}

/* vga_timing.c */
struct vga_beam {
    bool blank, vertical_retrace;
    uint64_t frame; /* counts vertical retraces */
};
struct vga_beam vga_beam(const struct vga *vga);
/* The guest is about to write the start address. */
void vga_start_changes(struct vga *vga);
/* The start address that the picture of now was begun with: it is taken at the vertical retrace. */
uint16_t vga_start_address(const struct vga *vga);

/* vga_vbe.c */
void vga_vbe_reset(struct vga *vga);
uint16_t vga_vbe_read(struct vga *vga, unsigned index);
void vga_vbe_write(struct vga *vga, unsigned index, uint16_t value);
/* Bytes from one row to the next in the current VBE mode. */
uint32_t vga_vbe_pitch(const struct vga *vga);

/* vga_draw.c */
void vga_draw_init(struct vga *vga, struct display_port *display);
void vga_draw_free(struct vga *vga);
struct vga_geometry vga_current_geometry(const struct vga *vga);
/* Address in the planes that the CRTC puts out for its counter, in this scan of a row. */
uint32_t vga_display_address(const struct vga *vga, uint32_t counter, int scan);
/* True if any of the bytes [first, first + length) of video memory, which wraps, may have changed.
 */
bool vga_is_dirty(const struct vga *vga, uint32_t first, uint32_t length);

/* vga_text.c */
bool vga_draw_text(struct vga *vga, const struct vga_geometry *g, bool all,
                   struct display_rows *rows);
size_t vga_text(void *adapter, char *buffer, size_t size);

#endif
