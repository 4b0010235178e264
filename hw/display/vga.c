/*
 * VGA registers and legacy memory windows (IBM VGA as documented in the IBM PS/2 Video Subsystem
 * Technical Reference; Bochs VBE in vga_vbe.c; the picture in vga_draw.c).
 *
 * Video memory is kept with the four planes of an address side by side, so that chained
 * VBE modes are linear in it. Not modelled: the light pen, the border, blinking pixels in graphics
 * modes, the colour diagnostic bits of status register 1, address bit 0 by the page bit of the
 * miscellaneous output register, cursor and display skew, line counters at half the rate, the
 * enable port 3c3h, and display blanking by a reset sequencer.
 */
#include "hw/display/vga_internal.h"

#include "hw/alloc.h"

#include <stdlib.h>
#include <string.h>

#define PORT_FIRST            0x3b0
#define PORT_COUNT            0x30
#define PORT_VBE_INDEX        0x1ce
#define LEGACY_BASE           0xa0000
#define LEGACY_SIZE           0x20000

#define MISC_COLOR            0x01
#define MISC_RAM_ENABLE       0x02
#define SEQ_CHAIN4            0x08
#define SEQ_EVEN_ODD_OFF      0x04
#define GR_MODE_HOST_ODD_EVEN 0x10
#define GR_MODE_READ_COMPARE  0x08
#define GR_MODE_SHIFT         0x60
#define CR_PROTECT            0x80 /* in CR_V_SYNC_END */

/* MMIO BAR of bochs-drm: EDID, VGA ports from 0x3c0 at 0x400, VBE registers at 0x500. */
#define MMIO_SIZE      4096
#define MMIO_PORTS     0x400
#define MMIO_PORTS_END 0x420
#define MMIO_VBE       0x500
#define MMIO_VBE_END   (MMIO_VBE + 2 * VBE_COUNT)
#define MMIO_EXTENDED  0x600 /* size and byte order registers of later revisions: absent */

static const struct field vga_fields[] = {
    FIELD_STRUCT(struct vga, pci, pci_device_fields, 1),
    FIELD(struct vga, misc, 1),
    FIELD(struct vga, feature, 1),
    FIELD(struct vga, seq_index, 1),
    FIELD_ARRAY(struct vga, seq, 1),
    FIELD(struct vga, gr_index, 1),
    FIELD_ARRAY(struct vga, gr, 1),
    FIELD(struct vga, cr_index, 1),
    FIELD_ARRAY(struct vga, cr, 1),
    FIELD(struct vga, ar_index, 1),
    FIELD_ARRAY(struct vga, ar, 1),
    FIELD(struct vga, ar_data, 1),
    FIELD(struct vga, dac_mask, 1),
    FIELD(struct vga, dac_read_index, 1),
    FIELD(struct vga, dac_write_index, 1),
    FIELD(struct vga, dac_component, 1),
    FIELD(struct vga, dac_state, 1),
    {"dac", offsetof(struct vga, dac), 1, 768, NULL, 1, false},
    FIELD_ARRAY(struct vga, dac_given, 1),
    FIELD_ARRAY(struct vga, latch, 1),
    FIELD(struct vga, vbe_index, 1),
    FIELD_ARRAY(struct vga, vbe, 1),
    FIELD_END,
};

/* -- Legacy memory windows -- */

/* Offset into the window that GR_MISC selects, or -1 outside it. */
static int64_t window_offset(const struct vga *vga, uint64_t offset)
{
    static const struct {
        uint32_t first, size;
    } windows[] = {{0, 0x20000}, {0, 0x10000}, {0x10000, 0x8000}, {0x18000, 0x8000}};
    unsigned map = vga->gr[GR_MISC] >> 2 & 3;
    if (!(vga->misc & MISC_RAM_ENABLE) || offset < windows[map].first ||
        offset >= windows[map].first + windows[map].size)
        return -1;
    return (int64_t)(offset - windows[map].first);
}

/* In VBE modes the 64 KiB window shows a bank of linear memory. */
static bool is_banked_linear(const struct vga *vga)
{
    return vga_vbe_enabled(vga) && vga->vbe[VBE_BPP] > 4;
}

static uint32_t banked_address(const struct vga *vga, int64_t offset)
{
    return (((uint32_t)vga->vbe[VBE_BANK] << 16) + (uint32_t)offset) & (VGA_RAM_SIZE - 1);
}

static void touch(struct vga *vga, uint32_t address, unsigned size)
{
    region_note_write(vga->pci.bar[0].region, address, size);
}

static bool odd_even(const struct vga *vga)
{
    return !(vga->seq[SEQ_MEMORY_MODE] & SEQ_EVEN_ODD_OFF);
}

/* Where a byte of the window lies in the planes. Chained, the two lowest bits choose the plane and
 * are 0 in the address; in odd/even mode so does and is the lowest. */
static uint32_t plane_address(const struct vga *vga, uint32_t offset)
{
    if (vga->seq[SEQ_MEMORY_MODE] & SEQ_CHAIN4)
        return offset & 0xfffc;
    return offset & (odd_even(vga) ? 0xfffe : 0xffff);
}

static uint8_t read_byte(struct vga *vga, uint64_t raw_offset)
{
    int64_t offset = window_offset(vga, raw_offset);
    if (offset < 0)
        return 0xff;
    if (is_banked_linear(vga))
        return vga->ram[banked_address(vga, offset)];
    const uint8_t *planes = vga->ram + 4 * plane_address(vga, (uint32_t)offset);
    memcpy(vga->latch, planes, 4);
    if (vga->gr[GR_MODE] & GR_MODE_READ_COMPARE) {
        uint8_t differs = 0;
        for (unsigned plane = 0; plane < 4; plane++)
            if (vga->gr[GR_COLOR_DONT_CARE] >> plane & 1)
                differs |= vga->latch[plane] ^ (vga->gr[GR_COLOR_COMPARE] >> plane & 1 ? 0xff : 0);
        return (uint8_t)~differs;
    }
    unsigned plane = vga->gr[GR_READ_MAP] & 3;
    if (vga->seq[SEQ_MEMORY_MODE] & SEQ_CHAIN4)
        plane = offset & 3;
    else if (vga->gr[GR_MODE] & GR_MODE_HOST_ODD_EVEN)
        plane = (plane & 2) | (offset & 1);
    return vga->latch[plane];
}

/* The data path of write modes 0-3 for one plane. */
static uint8_t write_data(const struct vga *vga, uint8_t value, unsigned plane)
{
    unsigned rotate = vga->gr[GR_ROTATE] & 7, mode = vga->gr[GR_MODE] & 3;
    uint8_t rotated = (uint8_t)(value >> rotate | value << (8 - rotate));
    uint8_t set_reset = vga->gr[GR_SET_RESET] >> plane & 1 ? 0xff : 0;
    uint8_t mask = vga->gr[GR_BIT_MASK], latch = vga->latch[plane], data;

    switch (mode) {
    case 1:
        return latch;
    case 2:
        data = value >> plane & 1 ? 0xff : 0;
        break;
    case 3:
        data = set_reset;
        mask &= rotated;
        break;
    default:
        data = vga->gr[GR_ENABLE_SET_RESET] >> plane & 1 ? set_reset : rotated;
    }
    switch (vga->gr[GR_ROTATE] >> 3 & 3) {
    case 1:
        data &= latch;
        break;
    case 2:
        data |= latch;
        break;
    case 3:
        data ^= latch;
        break;
    }
    return (uint8_t)((data & mask) | (latch & ~mask));
}

static void write_byte(struct vga *vga, uint64_t raw_offset, uint8_t value)
{
    int64_t offset = window_offset(vga, raw_offset);
    if (offset < 0)
        return;
    if (is_banked_linear(vga)) {
        uint32_t address = banked_address(vga, offset);
        vga->ram[address] = value;
        touch(vga, address, 1);
        return;
    }
    uint8_t planes = vga->seq[SEQ_MAP_MASK] & 15;
    if (vga->seq[SEQ_MEMORY_MODE] & SEQ_CHAIN4)
        planes &= (uint8_t)(1u << (offset & 3));
    else if (odd_even(vga))
        planes &= offset & 1 ? 0xa : 0x5;
    uint32_t address = 4 * plane_address(vga, (uint32_t)offset);
    for (unsigned plane = 0; plane < 4; plane++)
        if (planes >> plane & 1)
            vga->ram[address + plane] = write_data(vga, value, plane);
    vga->fonts_written |= planes & 4;
    touch(vga, address, 4);
}

static uint64_t legacy_read(void *opaque, uint64_t offset, unsigned size)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < size; i++)
        value |= (uint64_t)read_byte(opaque, offset + i) << (8 * i);
    return value;
}

static void legacy_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    for (unsigned i = 0; i < size; i++)
        write_byte(opaque, offset + i, (uint8_t)(value >> (8 * i)));
}

static const struct access_ops legacy_ops = {legacy_read, legacy_write, 1, 8};

/* -- Registers -- */

static uint8_t status_1(struct vga *vga)
{
    struct vga_beam beam = vga_beam(vga);
    vga->ar_data = false; /* reading resets the attribute flip-flop */
    return (uint8_t)((beam.vertical_retrace ? 0x08 : 0) | (beam.blank ? 0x01 : 0));
}

static uint8_t read_dac_data(struct vga *vga)
{
    uint8_t value = vga->dac[vga->dac_read_index][vga->dac_component];
    if (++vga->dac_component == 3) {
        vga->dac_component = 0;
        vga->dac_read_index++;
    }
    return value;
}

static void write_dac_data(struct vga *vga, uint8_t value)
{
    bool eight_bits = vga_vbe_enabled(vga) && vga->vbe[VBE_ENABLE] & VBE_8BIT_DAC;
    uint8_t *entry = vga->dac[vga->dac_write_index];
    if (!eight_bits)
        value &= 0x3f;
    if (vga->dac_component < 2) {
        vga->dac_given[vga->dac_component++] = value;
        return;
    }
    vga->redraw |= memcmp(entry, vga->dac_given, sizeof vga->dac_given) != 0 || entry[2] != value;
    memcpy(entry, vga->dac_given, sizeof vga->dac_given);
    entry[2] = value;
    vga->dac_component = 0;
    vga->dac_write_index++;
}

static bool is_crtc_port(const struct vga *vga, unsigned port)
{
    unsigned base = vga->misc & MISC_COLOR ? 0x3d0 : 0x3b0;
    return (port & ~0xfu) == base;
}

static uint8_t read_port(struct vga *vga, unsigned port)
{
    switch (port) {
    case 0x3c0:
        return vga->ar_index;
    case 0x3c1:
        return (vga->ar_index & 0x1f) < AR_COUNT ? vga->ar[vga->ar_index & 0x1f] : 0;
    case 0x3c2:
        return 0x10; /* switch sense: a colour monitor */
    case 0x3c4:
        return vga->seq_index;
    case 0x3c5:
        return vga->seq[vga->seq_index & 7];
    case 0x3c6:
        return vga->dac_mask;
    case 0x3c7:
        return vga->dac_state;
    case 0x3c8:
        return vga->dac_write_index;
    case 0x3c9:
        return read_dac_data(vga);
    case 0x3ca:
        return vga->feature;
    case 0x3cc:
        return vga->misc;
    case 0x3ce:
        return vga->gr_index;
    case 0x3cf:
        return vga->gr[vga->gr_index & 15];
    }
    if (is_crtc_port(vga, port)) {
        switch (port & 15) {
        case 4:
            return vga->cr_index;
        case 5:
            return vga->cr[vga->cr_index & 31];
        case 10:
            return status_1(vga);
        }
    }
    return 0xff;
}

static void write_attribute(struct vga *vga, uint8_t value)
{
    if (!vga->ar_data) {
        if ((vga->ar_index ^ value) & 0x20)
            vga->redraw = true; /* the screen goes off or on */
        vga->ar_index = value & 0x3f;
    } else if ((vga->ar_index & 0x1f) < AR_COUNT) {
        static const uint8_t masks[AR_COUNT - 16] = {0xef, 0xff, 0x3f, 0x0f, 0x0f};
        unsigned index = vga->ar_index & 0x1f;
        value &= index < 16 ? 0x3f : masks[index - 16];
        vga->redraw |= vga->ar[index] != value;
        vga->ar[index] = value;
    }
    vga->ar_data = !vga->ar_data;
}

static void write_crtc(struct vga *vga, uint8_t value)
{
    unsigned index = vga->cr_index & 31;
    if (index <= CR_OVERFLOW && vga->cr[CR_V_SYNC_END] & CR_PROTECT) {
        if (index == CR_OVERFLOW) /* only line compare bit 8 stays writable */
            vga->cr[index] = (uint8_t)((vga->cr[index] & ~0x10) | (value & 0x10));
        return;
    }
    if (index == CR_START_HIGH || index == CR_START_LOW)
        vga_start_changes(vga);
    vga->cr[index] = value;
}

static void write_port(struct vga *vga, unsigned port, uint8_t value)
{
    static const uint8_t seq_masks[SEQ_COUNT] = {0x03, 0x3d, 0x0f, 0x3f, 0x0e, 0, 0, 0xff};
    static const uint8_t gr_masks[GR_COUNT] = {0x0f, 0x0f, 0x0f, 0x1f, 0x03,
                                               0x7b, 0x0f, 0x0f, 0xff};
    switch (port) {
    case 0x3c0:
        write_attribute(vga, value);
        return;
    case 0x3c2:
        vga->misc = value & ~0x10;
        return;
    case 0x3c4:
        vga->seq_index = value & 7;
        return;
    case 0x3c5:
        value &= seq_masks[vga->seq_index];
        vga->redraw |= vga->seq[vga->seq_index] != value &&
                       (vga->seq_index == SEQ_CLOCKING || vga->seq_index == SEQ_FONT);
        vga->seq[vga->seq_index] = value;
        return;
    case 0x3c6:
        vga->redraw |= vga->dac_mask != value;
        vga->dac_mask = value;
        return;
    case 0x3c7:
        vga->dac_read_index = value;
        vga->dac_component = 0;
        vga->dac_state = 3;
        return;
    case 0x3c8:
        vga->dac_write_index = value;
        vga->dac_component = 0;
        vga->dac_state = 0;
        return;
    case 0x3c9:
        write_dac_data(vga, value);
        return;
    case 0x3ce:
        vga->gr_index = value & 15;
        return;
    case 0x3cf:
        value &= gr_masks[vga->gr_index];
        /* Of the mode register, only how pixels are read changes the picture; programs change the
         * write mode all the time. */
        vga->redraw |= (vga->gr_index == GR_MODE && (vga->gr[GR_MODE] ^ value) & GR_MODE_SHIFT) ||
                       (vga->gr_index == GR_MISC && (vga->gr[GR_MISC] ^ value) & 1);
        vga->gr[vga->gr_index] = value;
        return;
    }
    if (is_crtc_port(vga, port)) {
        switch (port & 15) {
        case 4:
            vga->cr_index = value & 31;
            return;
        case 5:
            write_crtc(vga, value);
            return;
        case 10:
            vga->feature = value & 0x0b;
            return;
        }
    } else if (port >= 0x3c0 && port < 0x3d0) {
        log_guest("vga: write of %#x to port %#x is not modelled", value, port);
    }
}

static uint64_t port_read(void *opaque, uint64_t offset, unsigned size)
{
    return read_port(opaque, PORT_FIRST + (unsigned)offset);
}

static void port_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    write_port(opaque, PORT_FIRST + (unsigned)offset, (uint8_t)value);
}

static const struct access_ops port_ops = {port_read, port_write, 1, 1};

/* -- VBE index and data ports; the PCI MMIO window -- */

static uint64_t vbe_port_read(void *opaque, uint64_t offset, unsigned size)
{
    struct vga *vga = opaque;
    return offset == 0 ? vga->vbe_index : vga_vbe_read(vga, vga->vbe_index);
}

static void vbe_port_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct vga *vga = opaque;
    if (offset == 0)
        vga->vbe_index = (uint16_t)value;
    else
        vga_vbe_write(vga, vga->vbe_index, (uint16_t)value);
}

/* 0x1ce index, 0x1cf data, 0x1d0 data again (aligned for those who want it): each takes words. */
static const struct access_ops vbe_port_ops = {vbe_port_read, vbe_port_write, 1, 2};

static uint64_t mmio_read(void *opaque, uint64_t offset, unsigned size)
{
    struct vga *vga = opaque;
    if (offset >= MMIO_PORTS && offset < MMIO_PORTS_END)
        return read_port(vga, 0x3c0 + (unsigned)(offset - MMIO_PORTS));
    if (offset >= MMIO_VBE && offset < MMIO_VBE_END)
        return vga_vbe_read(vga, (unsigned)(offset - MMIO_VBE) >> 1) >> (offset & 1 ? 8 : 0);
    if (offset + size <= EDID_SIZE)
        return pci_get(vga->edid, (unsigned)offset, size);
    if (offset >= MMIO_PORTS && offset < MMIO_EXTENDED)
        log_guest("vga: read of unknown MMIO register %#llx", (unsigned long long)offset);
    return UINT64_MAX;
}

static void mmio_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct vga *vga = opaque;
    if (offset >= MMIO_PORTS && offset < MMIO_PORTS_END) {
        for (unsigned i = 0; i < size; i++)
            write_port(vga, 0x3c0 + (unsigned)(offset - MMIO_PORTS) + i,
                       (uint8_t)(value >> (8 * i)));
    } else if (offset >= MMIO_VBE && offset < MMIO_VBE_END && size == 2) {
        vga_vbe_write(vga, (unsigned)(offset - MMIO_VBE) >> 1, (uint16_t)value);
    } else {
        log_guest("vga: write to unknown MMIO register %#llx", (unsigned long long)offset);
    }
}

static const struct access_ops mmio_ops = {mmio_read, mmio_write, 1, 2};

/* -- Life -- */

static void vga_reset(struct device *device)
{
    struct vga *vga = (struct vga *)device;
    pci_device_reset(&vga->pci);
    memset(vga->seq, 0, sizeof vga->seq);
    memset(vga->gr, 0, sizeof vga->gr);
    memset(vga->cr, 0, sizeof vga->cr);
    memset(vga->ar, 0, sizeof vga->ar);
    memset(vga->dac, 0, sizeof vga->dac);
    memset(vga->dac_given, 0, sizeof vga->dac_given);
    memset(vga->latch, 0, sizeof vga->latch);
    vga->misc = vga->feature = vga->seq_index = vga->gr_index = vga->cr_index = vga->ar_index = 0;
    vga->dac_read_index = vga->dac_write_index = vga->dac_component = vga->dac_state = 0;
    vga->dac_mask = 0xff;
    vga->ar_data = false;
    vga->start_frame = UINT64_MAX;
    vga_vbe_reset(vga);
    vga->redraw = true;
}

static bool vga_post_load(struct device *device, struct error *error)
{
    struct vga *vga = (struct vga *)device;
    vga->seq_index &= 7;
    vga->gr_index &= 15;
    if (vga->dac_component > 2)
        return error_set(error, "vga: the saved state has an impossible DAC component");
    uint16_t enable = vga->vbe[VBE_ENABLE];
    uint16_t width = vga->vbe[VBE_XRES], height = vga->vbe[VBE_YRES], depth = vga->vbe[VBE_BPP];
    if ((enable & VBE_ENABLED) && (!width || width > VGA_MAX_WIDTH || !height ||
                                   height > VGA_MAX_HEIGHT || !depth || depth > 32))
        return error_set(error, "vga: the saved state has an impossible mode %ux%ux%u", width,
                         height, depth);
    vga->start_frame = UINT64_MAX;
    vga->redraw = true;
    return pci_device_post_load(&vga->pci, error);
}

static void vga_destroy(struct device *device)
{
    struct vga *vga = (struct vga *)device;
    vga_draw_free(vga);
    memory_free_host(vga->ram, VGA_RAM_SIZE);
    free(vga);
}

static const struct device_ops vga_ops = {
    .name = "vga",
    .fields = vga_fields,
    .version = 1,
    .reset = vga_reset,
    .post_load = vga_post_load,
    .destroy = vga_destroy,
};

struct vga *vga_new(struct device_list *list, struct pci_bus *bus, uint8_t devfn, struct io_bus *io,
                    struct memory *memory, struct clock *clock, struct display_port *display,
                    const void *rom, size_t rom_size, const char *id)
{
    static const struct pci_identity identity = {
        .vendor = 0x1234,
        .device = 0x1111,
        .revision = 2,
        .class_code = 0x0300,
        .subsystem_vendor = 0x1af4,
        .subsystem = 0x1100,
    };
    struct vga *vga = alloc_zeroed(sizeof *vga);
    vga->ram = memory_alloc_host(VGA_RAM_SIZE);
    if (!vga->ram)
        alloc_failed(VGA_RAM_SIZE);
    vga->clock = clock;
    vga->memory = memory;
    device_add(list, &vga->pci.device, &vga_ops, id);
    pci_device_init(&vga->pci, bus, devfn, &identity);
    pci_add_memory_bar(&vga->pci, 0, VGA_RAM_SIZE, vga->ram, true);
    pci_add_mmio_bar(&vga->pci, 2, MMIO_SIZE, &mmio_ops, vga);
    if (rom)
        pci_add_rom(&vga->pci, rom, rom_size);
    io_bus_add(io, PORT_FIRST, PORT_COUNT, &port_ops, vga);
    io_bus_add(io, PORT_VBE_INDEX, 4, &vbe_port_ops, vga);
    vga->legacy = memory_add_mmio(memory, LEGACY_BASE, LEGACY_SIZE, PRIORITY_BOARD, &legacy_ops,
                                  vga, "vga window");
    edid_build(vga->edid);
    vga_draw_init(vga, display);
    return vga;
}
