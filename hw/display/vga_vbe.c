/*
 * Bochs VBE registers ("DISPI" interface): index and data words that set linear graphics modes.
 */
#include "hw/display/vga_internal.h"

#include <string.h>

#define VBE_ID_FIRST 0xb0c0
#define VBE_ID_LAST  0xb0c5

void vga_vbe_reset(struct vga *vga)
{
    memset(vga->vbe, 0, sizeof vga->vbe);
    vga->vbe[VBE_ID] = VBE_ID_LAST;
    vga->vbe[VBE_MEMORY_64K] = VGA_RAM_SIZE >> 16;
    vga->vbe_index = 0;
}

uint32_t vga_vbe_pitch(const struct vga *vga)
{
    uint32_t width = vga->vbe[VBE_VIRT_WIDTH], depth = vga->vbe[VBE_BPP];
    return depth == 4 ? width / 2 : width * ((depth + 7) / 8);
}

uint16_t vga_vbe_read(struct vga *vga, unsigned index)
{
    if (index >= VBE_COUNT)
        return 0;
    if (vga->vbe[VBE_ENABLE] & VBE_GET_CAPABILITIES) {
        switch (index) {
        case VBE_XRES:
            return VGA_MAX_WIDTH;
        case VBE_YRES:
            return VGA_MAX_HEIGHT;
        case VBE_BPP:
            return 32;
        }
    }
    return vga->vbe[index];
}

static bool is_depth(uint16_t depth)
{
    return depth == 4 || depth == 8 || depth == 15 || depth == 16 || depth == 24 || depth == 32;
}

/* Virtual width decides how many rows fit; offsets must stay inside. */
static void update_virtual_size(struct vga *vga)
{
    uint16_t *vbe = vga->vbe;
    if (vbe[VBE_VIRT_WIDTH] < vbe[VBE_XRES])
        vbe[VBE_VIRT_WIDTH] = vbe[VBE_XRES];
    uint32_t pitch = vga_vbe_pitch(vga);
    uint32_t rows = pitch ? VGA_RAM_SIZE / pitch : 0;
    vbe[VBE_VIRT_HEIGHT] = rows > 0xffff ? 0xffff : (uint16_t)rows;
    vga->redraw = true;
}

/* A mode whose first picture would not fit in video memory is not entered. */
static bool mode_fits(const struct vga *vga)
{
    const uint16_t *vbe = vga->vbe;
    uint64_t pixel_bits = vbe[VBE_BPP] == 15 ? 16 : vbe[VBE_BPP];
    return vbe[VBE_XRES] && vbe[VBE_YRES] && is_depth(vbe[VBE_BPP]) &&
           (uint64_t)vbe[VBE_XRES] * vbe[VBE_YRES] * pixel_bits / 8 <= VGA_RAM_SIZE;
}

static void write_enable(struct vga *vga, uint16_t value)
{
    bool was_enabled = vga_vbe_enabled(vga);
    if ((value & VBE_ENABLED) && !mode_fits(vga)) {
        log_guest("vga: VBE mode %ux%u with %u bits is not possible", vga->vbe[VBE_XRES],
                  vga->vbe[VBE_YRES], vga->vbe[VBE_BPP]);
        value &= ~VBE_ENABLED;
    }
    vga->vbe[VBE_ENABLE] = value;
    vga->redraw = true;
    if ((value & VBE_ENABLED) && !was_enabled) {
        vga->vbe[VBE_VIRT_WIDTH] = vga->vbe[VBE_XRES];
        vga->vbe[VBE_X_OFFSET] = vga->vbe[VBE_Y_OFFSET] = 0;
        vga->vbe[VBE_BANK] = 0;
        update_virtual_size(vga);
        if (!(value & VBE_NO_CLEAR)) {
            size_t size = (size_t)vga_vbe_pitch(vga) * vga->vbe[VBE_YRES];
            memset(vga->ram, 0, size < VGA_RAM_SIZE ? size : VGA_RAM_SIZE);
            region_mark_dirty(vga->pci.bar[0].region);
        }
    }
}

void vga_vbe_write(struct vga *vga, unsigned index, uint16_t value)
{
    uint16_t *vbe = vga->vbe;
    switch (index) {
    case VBE_ID:
        if (value >= VBE_ID_FIRST && value <= VBE_ID_LAST)
            vbe[VBE_ID] = value;
        break;
    case VBE_XRES:
        if (value & 7)
            log_guest("vga: a width of %u is not a multiple of 8", value);
        if (value <= VGA_MAX_WIDTH && (value & 7) == 0 && !vga_vbe_enabled(vga))
            vbe[VBE_XRES] = value;
        break;
    case VBE_YRES:
        if (value <= VGA_MAX_HEIGHT && !vga_vbe_enabled(vga))
            vbe[VBE_YRES] = value;
        break;
    case VBE_BPP:
        if (is_depth(value ? value : 8) && !vga_vbe_enabled(vga))
            vbe[VBE_BPP] = value ? value : 8;
        break;
    case VBE_BANK:
        vbe[VBE_BANK] = value & ((VGA_RAM_SIZE >> 16) - 1);
        break;
    case VBE_ENABLE:
        write_enable(vga, value);
        break;
    case VBE_VIRT_WIDTH:
        vbe[VBE_VIRT_WIDTH] = value;
        update_virtual_size(vga);
        break;
    case VBE_X_OFFSET:
    case VBE_Y_OFFSET:
        vga->redraw |= vbe[index] != value;
        vbe[index] = value;
        break;
    case VBE_VIRT_HEIGHT: /* follows from the width */
    case VBE_MEMORY_64K:
        break;
    default:
        log_guest("vga: write of %#x to unknown VBE register %u", value, index);
    }
}
