/*
 * Where the beam is: horizontal and vertical timing by the CRTC's registers and the dot clock, from
 * virtual time. Programs wait for retraces and count them.
 */
#include "hw/display/vga_internal.h"

#define PS_PER_NS      1000ull
#define PS_PER_SECOND  1000000000000ull
#define DOT_CLOCK_25   25175000u
#define DOT_CLOCK_28   28322000u
#define MISC_CLOCK     0x0c
#define MISC_CLOCK_28  0x04
#define SEQ_8_DOTS     0x01
#define SEQ_HALF_CLOCK 0x08
#define H_TOTAL_MORE   5 /* characters beyond what the register says */
#define V_TOTAL_MORE   2

/* A frame that no monitor shows: nothing has been programmed yet, or the mode is not the CRTC's. */
#define FRAME_MIN_PS (PS_PER_SECOND / 200)
#define FRAME_MAX_PS (PS_PER_SECOND / 20)

struct timing {
    uint64_t line_ps, frame_ps;
    uint64_t shown_ps; /* of a line */
    unsigned shown_lines, retrace_first, retrace_lines;
};

static struct timing timing(const struct vga *vga)
{
    static const struct timing usual = {
        .line_ps = PS_PER_SECOND / 60 / 450,
        .frame_ps = PS_PER_SECOND / 60 / 450 * 450,
        .shown_ps = PS_PER_SECOND / 60 / 450 * 4 / 5,
        .shown_lines = 400,
        .retrace_first = 412,
        .retrace_lines = 2,
    };
    const uint8_t *cr = vga->cr;
    uint8_t more = cr[CR_OVERFLOW], clocking = vga->seq[SEQ_CLOCKING];
    uint64_t dots = clocking & SEQ_8_DOTS ? 8 : 9;
    uint64_t clock = (vga->misc & MISC_CLOCK) == MISC_CLOCK_28 ? DOT_CLOCK_28 : DOT_CLOCK_25;
    if (clocking & SEQ_HALF_CLOCK)
        dots *= 2;
    uint64_t character_ps = dots * PS_PER_SECOND / clock;
    unsigned lines = (cr[CR_V_TOTAL] | (more & 0x01) << 8 | (more & 0x20) << 4) + V_TOTAL_MORE;
    unsigned retrace = cr[CR_V_SYNC_START] | (more & 0x04) << 6 | (more & 0x80) << 2;
    struct timing now = {
        .line_ps = (cr[CR_H_TOTAL] + (uint64_t)H_TOTAL_MORE) * character_ps,
        .shown_ps = (cr[CR_H_DISPLAY_END] + 1ull) * character_ps,
        .shown_lines = (cr[CR_V_DISPLAY_END] | (more & 0x02) << 7 | (more & 0x40) << 3) + 1u,
        .retrace_first = retrace,
        .retrace_lines = (cr[CR_V_SYNC_END] - retrace) & 15u,
    };
    now.frame_ps = now.line_ps * lines;
    bool sensible = now.frame_ps >= FRAME_MIN_PS && now.frame_ps <= FRAME_MAX_PS &&
                    retrace < lines && !vga_vbe_enabled(vga);
    return sensible ? now : usual;
}

struct vga_beam vga_beam(const struct vga *vga)
{
    struct timing t = timing(vga);
    uint64_t now = clock_now(vga->clock) * PS_PER_NS, in_frame = now % t.frame_ps;
    uint64_t line = in_frame / t.line_ps;
    return (struct vga_beam){
        .blank = line >= t.shown_lines || in_frame % t.line_ps >= t.shown_ps,
        .vertical_retrace = line >= t.retrace_first && line < t.retrace_first + t.retrace_lines,
        .frame = now / t.frame_ps + (line >= t.retrace_first),
    };
}

void vga_start_changes(struct vga *vga)
{
    uint64_t frame = vga_beam(vga).frame;
    if (vga->start_frame == frame)
        return;
    vga->start_frame = frame;
    vga->start_before = vga_start_registers(vga);
}

uint16_t vga_start_address(const struct vga *vga)
{
    return vga_beam(vga).frame == vga->start_frame ? vga->start_before : vga_start_registers(vga);
}
