/*
 * The machine's window (SDL 2).
 *
 * Each turn: input events go to the board's input port, then the adapter composes what changed and
 * only those rows are uploaded to a streaming texture. Scaling is by whole numbers where the window
 * leaves room (crisp), else smooth to fit. Where the guest's driver takes positions, the mouse
 * belongs to both: its place on the picture is told as it is, and the guest draws the arrow.
 * Elsewhere it is grabbed by a click and released by Ctrl+Alt+G; the title says so.
 */
#include "ui/window.h"

#include <SDL.h>
#include <stdlib.h>
#include <string.h>

#define FRAME_NS   (NS_PER_SECOND / 60)
#define TITLE_NS   (NS_PER_SECOND / 2)
#define MIN_WIDTH  640
#define MIN_HEIGHT 400

struct window {
    struct machine *machine;
    struct window_options options;
    SDL_Window *window;
    SDL_Renderer *renderer;
    SDL_Texture *texture;
    int width, height; /* of the guest's picture and the texture */
    bool fullscreen, grabbed, closed, shown;
    bool absolute;   /* the guest takes positions */
    bool stale;      /* the texture must be presented again (expose, resize) */
    bool user_sized; /* the person chose the window's size: keep it when the guest's mode changes */
    unsigned buttons;
    int mouse_x, mouse_y;                /* where it was last, in the window's units */
    uint8_t down[SDL_NUM_SCANCODES / 8]; /* keys the guest holds, to release when focus is lost */

    uint64_t frame_due_ns;
    uint64_t title_due_ns, title_at_ns, title_busy_ns, title_instructions;
};

static uint64_t host_ns(void)
{
    return (uint64_t)((double)SDL_GetPerformanceCounter() * 1e9 /
                      (double)SDL_GetPerformanceFrequency());
}

/* -- Title: name, state, speed, how to leave -- */

static const char *state_name(const struct window *window)
{
    switch (machine_state(window->machine)) {
    case MACHINE_RUNNING:
        return "running";
    case MACHINE_PAUSED:
        return "paused";
    default:
        return "ended";
    }
}

static void update_title(struct window *window)
{
    char title[320], speed[64] = "";
    uint64_t now = host_ns(), busy = machine_cpu_time_ns(window->machine);
    uint64_t instructions = machine_instructions(window->machine);
    double passed = (double)(now - window->title_at_ns);
    if (machine_state(window->machine) == MACHINE_RUNNING && window->title_at_ns && passed > 0) {
        double load = (double)(busy - window->title_busy_ns) * 100 / passed;
        double mips = (double)(int64_t)(instructions - window->title_instructions) * 1e3 / passed;
        int used = snprintf(speed, sizeof speed, ", CPU %.0f %%", load > 100 ? 100 : load);
        if (mips >= 1) /* the engine counts */
            snprintf(speed + used, sizeof speed - (size_t)used, ", %.0f MIPS", mips);
    }
    window->title_at_ns = now;
    window->title_busy_ns = busy;
    window->title_instructions = instructions;
    window->title_due_ns = now + TITLE_NS;

    const char *hint = window->grabbed    ? " - Ctrl+Alt+G releases the mouse"
                       : window->absolute ? ""
                                          : " - click to use the mouse";
    snprintf(title, sizeof title, "%.160s - doppel (%s%s)%s", window->options.name,
             state_name(window), speed, hint);
    SDL_SetWindowTitle(window->window, title);
}

/* -- Keyboard -- */

static void send_key(struct window *window, SDL_Scancode code, bool down)
{
    struct input_port *input = machine_input(window->machine);
    if (code <= SDL_SCANCODE_UNKNOWN || code >= SDL_NUM_SCANCODES || code > 0xe7 || !input->key)
        return; /* beyond the HID keyboard page: media keys of SDL's own numbering */
    uint8_t bit = (uint8_t)(1 << (code % 8));
    if (down)
        window->down[code / 8] |= bit;
    else if (window->down[code / 8] & bit)
        window->down[code / 8] &= (uint8_t)~bit;
    else
        return; /* pressed for the window (Ctrl+Alt+...), not for the guest */
    machine_lock(window->machine);
    input->key(input->keyboard, (uint16_t)code, down);
    machine_unlock(window->machine);
}

static void release_keys(struct window *window)
{
    for (int code = 0; code < SDL_NUM_SCANCODES; code++)
        if (window->down[code / 8] >> (code % 8) & 1)
            send_key(window, (SDL_Scancode)code, false);
}

static void press_combination(struct window *window, const SDL_Scancode *codes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        send_key(window, codes[i], true);
    for (size_t i = count; i-- > 0;)
        send_key(window, codes[i], false);
}

static void set_grab(struct window *window, bool grab)
{
    window->grabbed = grab;
    SDL_SetRelativeMouseMode(grab ? SDL_TRUE : SDL_FALSE);
    SDL_SetWindowKeyboardGrab(window->window, grab ? SDL_TRUE : SDL_FALSE);
    update_title(window);
}

static void toggle_fullscreen(struct window *window)
{
    window->fullscreen = !window->fullscreen;
    SDL_SetWindowFullscreen(window->window, window->fullscreen ? SDL_WINDOW_FULLSCREEN_DESKTOP : 0);
    window->stale = true;
}

static void toggle_pause(struct window *window)
{
    if (machine_state(window->machine) == MACHINE_PAUSED)
        machine_start(window->machine);
    else
        machine_pause(window->machine);
    update_title(window);
}

static void send_ctrl_alt_del(struct window *window)
{
    static const SDL_Scancode keys[] = {SDL_SCANCODE_LCTRL, SDL_SCANCODE_LALT, SDL_SCANCODE_DELETE};
    release_keys(window);
    press_combination(window, keys, sizeof keys / sizeof keys[0]);
}

static void release_mouse(struct window *window)
{
    set_grab(window, false);
}

/* Ctrl+Alt+key combinations are the window's. */
static const struct shortcut {
    SDL_Scancode code;
    void (*act)(struct window *window);
} shortcuts[] = {
    {SDL_SCANCODE_G, release_mouse},       {SDL_SCANCODE_F, toggle_fullscreen},
    {SDL_SCANCODE_P, toggle_pause},        {SDL_SCANCODE_DELETE, send_ctrl_alt_del},
    {SDL_SCANCODE_END, send_ctrl_alt_del}, /* where the desktop keeps Ctrl+Alt+Del for itself */
};

static bool handle_shortcut(struct window *window, const SDL_KeyboardEvent *event)
{
    if (!(event->keysym.mod & KMOD_CTRL) || !(event->keysym.mod & KMOD_ALT))
        return false;
    for (size_t i = 0; i < sizeof shortcuts / sizeof shortcuts[0]; i++) {
        if (shortcuts[i].code != event->keysym.scancode)
            continue;
        if (!event->repeat) {
            release_keys(window);
            shortcuts[i].act(window);
        }
        return true;
    }
    return false;
}

static void handle_key(struct window *window, const SDL_KeyboardEvent *event)
{
    bool down = event->type == SDL_KEYDOWN;
    if (down && handle_shortcut(window, event))
        return;
    if (!event->repeat) /* the guest's keyboard repeats by itself */
        send_key(window, event->keysym.scancode, down);
}

/* -- Mouse -- */

static SDL_Rect picture_rectangle(const struct window *window);

/* From a place in the window, in its own units, to one on the picture; places beside it count as
 * its edge. */
static unsigned place(int at, int window_size, int output_size, int first, int size)
{
    double pixel = (at + 0.5) * output_size / (window_size ? window_size : 1) - first;
    double part = pixel / (size ? size : 1);
    return (unsigned)((part < 0 ? 0 : part > 1 ? 1 : part) * INPUT_POSITION_MAX + 0.5);
}

static void send_position(struct window *window, int wheel)
{
    struct input_port *input = machine_input(window->machine);
    int width, height, out_width, out_height;
    if (!window->texture)
        return;
    SDL_GetWindowSize(window->window, &width, &height);
    SDL_GetRendererOutputSize(window->renderer, &out_width, &out_height);
    SDL_Rect picture = picture_rectangle(window);
    unsigned at_x = place(window->mouse_x, width, out_width, picture.x, picture.w);
    unsigned at_y = place(window->mouse_y, height, out_height, picture.y, picture.h);
    machine_lock(window->machine);
    input->position(input->tablet, at_x, at_y, wheel, window->buttons);
    machine_unlock(window->machine);
}

/* The guest's driver has come or gone. */
static void follow_guest(struct window *window)
{
    machine_lock(window->machine);
    bool absolute = machine_input(window->machine)->absolute;
    machine_unlock(window->machine);
    if (absolute == window->absolute)
        return;
    window->absolute = absolute;
    window->buttons = 0;
    if (absolute && window->grabbed)
        set_grab(window, false);
    SDL_ShowCursor(absolute ? SDL_DISABLE : SDL_ENABLE); /* the guest draws one */
    update_title(window);
}

static void send_pointer(struct window *window, int dx, int dy, int wheel)
{
    struct input_port *input = machine_input(window->machine);
    if (window->absolute) {
        send_position(window, wheel);
        return;
    }
    if (!window->grabbed || !input->pointer)
        return;
    machine_lock(window->machine);
    input->pointer(input->mouse, dx, dy, wheel, window->buttons);
    machine_unlock(window->machine);
}

static void handle_button(struct window *window, const SDL_MouseButtonEvent *event)
{
    static const uint8_t bits[] = {[SDL_BUTTON_LEFT] = 1,
                                   [SDL_BUTTON_RIGHT] = 2,
                                   [SDL_BUTTON_MIDDLE] = 4,
                                   [SDL_BUTTON_X1] = 8,
                                   [SDL_BUTTON_X2] = 16};
    bool down = event->type == SDL_MOUSEBUTTONDOWN;
    window->mouse_x = event->x;
    window->mouse_y = event->y;
    if (!window->grabbed && !window->absolute) {
        if (down)
            set_grab(window, true);
        return;
    }
    if (event->button >= sizeof bits)
        return;
    if (down)
        window->buttons |= bits[event->button];
    else
        window->buttons &= ~(unsigned)bits[event->button];
    send_pointer(window, 0, 0, 0);
}

/* -- Window events -- */

static void handle_window_event(struct window *window, const SDL_WindowEvent *event)
{
    switch (event->event) {
    case SDL_WINDOWEVENT_FOCUS_LOST:
        release_keys(window);
        if (window->grabbed)
            set_grab(window, false);
        break;
    case SDL_WINDOWEVENT_RESIZED:
        window->user_sized = true;
        window->stale = true;
        break;
    case SDL_WINDOWEVENT_SIZE_CHANGED:
    case SDL_WINDOWEVENT_EXPOSED:
        window->stale = true;
        break;
    }
}

static void handle_event(struct window *window, const SDL_Event *event)
{
    switch (event->type) {
    case SDL_QUIT:
        window->closed = true;
        break;
    case SDL_KEYDOWN:
    case SDL_KEYUP:
        handle_key(window, &event->key);
        break;
    case SDL_MOUSEMOTION:
        window->mouse_x = event->motion.x;
        window->mouse_y = event->motion.y;
        send_pointer(window, event->motion.xrel, event->motion.yrel, 0);
        break;
    case SDL_MOUSEBUTTONDOWN:
    case SDL_MOUSEBUTTONUP:
        handle_button(window, &event->button);
        break;
    case SDL_MOUSEWHEEL:
        send_pointer(window, 0, 0, event->wheel.y);
        break;
    case SDL_WINDOWEVENT:
        handle_window_event(window, &event->window);
        break;
    case SDL_RENDER_TARGETS_RESET:
    case SDL_RENDER_DEVICE_RESET:
        window->width = window->height = 0; /* the texture is gone: make it and its contents anew */
        break;
    }
}

/* -- Picture -- */

static unsigned start_scale(const struct window *window, int width, int height)
{
    SDL_Rect usable;
    if (window->options.scale)
        return window->options.scale;
    unsigned scale = 1;
    if (SDL_GetDisplayUsableBounds(SDL_GetWindowDisplayIndex(window->window), &usable) == 0)
        while (scale < 4 && width * (int)(scale + 1) <= usable.w * 2 / 3 &&
               height * (int)(scale + 1) <= usable.h * 2 / 3)
            scale++;
    return scale;
}

/* After it grew: back to where all of it can be seen. */
static void keep_on_screen(struct window *window)
{
    SDL_Rect usable, at;
    if (SDL_GetDisplayUsableBounds(SDL_GetWindowDisplayIndex(window->window), &usable) != 0)
        return;
    SDL_GetWindowPosition(window->window, &at.x, &at.y);
    SDL_GetWindowSize(window->window, &at.w, &at.h);
    int right = usable.x + usable.w - at.w, bottom = usable.y + usable.h - at.h;
    int x = at.x < right ? at.x : right, y = at.y < bottom ? at.y : bottom;
    x = x > usable.x ? x : usable.x;
    y = y > usable.y ? y : usable.y;
    if (x != at.x || y != at.y)
        SDL_SetWindowPosition(window->window, x, y);
}

static bool resize_picture(struct window *window, int width, int height)
{
    if (window->texture)
        SDL_DestroyTexture(window->texture);
    window->texture = SDL_CreateTexture(window->renderer, SDL_PIXELFORMAT_RGB888,
                                        SDL_TEXTUREACCESS_STREAMING, width, height);
    if (!window->texture)
        return false;
    window->width = width;
    window->height = height;
    if (!window->user_sized && !window->fullscreen) {
        unsigned scale = start_scale(window, width, height);
        SDL_SetWindowSize(window->window, width * (int)scale, height * (int)scale);
        keep_on_screen(window);
    }
    if (!window->shown) { /* now that its size is known */
        SDL_SetWindowPosition(window->window, SDL_WINDOWPOS_CENTERED, SDL_WINDOWPOS_CENTERED);
        SDL_ShowWindow(window->window);
        window->shown = true;
    }
    return true;
}

/* Where the picture goes: whole multiples when they fit, centred; smooth scaling below 1:1. */
static SDL_Rect picture_rectangle(const struct window *window)
{
    int out_width, out_height;
    SDL_GetRendererOutputSize(window->renderer, &out_width, &out_height);
    int multiple = out_width / window->width < out_height / window->height
                       ? out_width / window->width
                       : out_height / window->height;
    if (window->options.scale && multiple > (int)window->options.scale)
        multiple = (int)window->options.scale;
    double factor = multiple;
    if (multiple < 1) {
        double by_width = (double)out_width / window->width;
        double by_height = (double)out_height / window->height;
        factor = by_width < by_height ? by_width : by_height;
    }
    SDL_SetTextureScaleMode(window->texture,
                            multiple >= 1 ? SDL_ScaleModeNearest : SDL_ScaleModeLinear);
    SDL_Rect rectangle = {0, 0, (int)(window->width * factor), (int)(window->height * factor)};
    rectangle.x = (out_width - rectangle.w) / 2;
    rectangle.y = (out_height - rectangle.h) / 2;
    return rectangle;
}

static void present(struct window *window)
{
    SDL_Rect rectangle = picture_rectangle(window);
    SDL_SetRenderDrawColor(window->renderer, 0, 0, 0, 255);
    SDL_RenderClear(window->renderer);
    SDL_RenderCopy(window->renderer, window->texture, NULL, &rectangle);
    SDL_RenderPresent(window->renderer);
    window->stale = false;
}

static void draw(struct window *window)
{
    struct display_port *display = machine_display(window->machine);
    struct frame frame;
    struct display_rows rows;
    machine_lock(window->machine);
    bool changed = display->refresh(display->adapter, &frame, &rows);
    machine_unlock(window->machine);
    /* The frame stays valid until the next refresh, which is ours too: upload without the lock. */
    if (frame.width != window->width || frame.height != window->height) {
        if (!resize_picture(window, frame.width, frame.height))
            return;
        rows = (struct display_rows){0, frame.height};
        changed = true;
    }
    if (changed && rows.count > 0) {
        SDL_Rect part = {0, rows.first, frame.width, rows.count};
        SDL_UpdateTexture(window->texture, &part, frame.pixels + (size_t)rows.first * frame.stride,
                          frame.stride * 4);
        window->stale = true;
    }
    if (window->stale)
        present(window);
}

/* -- Life -- */

bool window_turn(struct window *window)
{
    SDL_Event event;
    if (host_ns() < window->frame_due_ns)
        return true;
    window->frame_due_ns = host_ns() + FRAME_NS;
    follow_guest(window);
    while (SDL_PollEvent(&event))
        handle_event(window, &event);
    if (host_ns() >= window->title_due_ns)
        update_title(window);
    draw(window);
    return !window->closed;
}

uint64_t window_idle_ns(const struct window *window)
{
    uint64_t now = host_ns();
    return now < window->frame_due_ns ? window->frame_due_ns - now : 0;
}

static bool is_set(const char *variable)
{
    const char *value = getenv(variable);
    return value && *value;
}

bool display_start(struct error *error)
{
    if (!is_set("SDL_VIDEODRIVER")) {
        bool x11 = is_set("DISPLAY"), wayland = is_set("WAYLAND_DISPLAY");
        if (!x11 && !wayland)
            return error_set(error, "neither DISPLAY nor WAYLAND_DISPLAY is set");
        SDL_SetHint(SDL_HINT_VIDEODRIVER, !wayland ? "x11" : !x11 ? "wayland" : "x11,wayland");
    }
    return SDL_Init(SDL_INIT_VIDEO) == 0 || error_set(error, "%s", SDL_GetError());
}

/* True if the current OpenGL context has no graphics processor behind it (Mesa's own drivers). */
static bool gl_is_software(void)
{
    static const char *const drivers[] = {"llvmpipe", "softpipe", "swrast"};
    enum { GL_RENDERER = 0x1f01 };
    if (!SDL_GL_GetCurrentContext())
        return false;
    const char *(*get_string)(unsigned) =
        (const char *(*)(unsigned))SDL_GL_GetProcAddress("glGetString");
    const char *name = get_string ? get_string(GL_RENDERER) : NULL;
    for (size_t i = 0; name && i < sizeof drivers / sizeof *drivers; i++)
        if (strstr(name, drivers[i]))
            return true;
    return false;
}

/* OpenGL in software takes a third of a processor for what SDL copies itself at a tenth of that. */
static SDL_Renderer *new_renderer(SDL_Window *window)
{
    SDL_Renderer *renderer = SDL_CreateRenderer(window, -1, 0);
    if (renderer && (is_set("SDL_RENDER_DRIVER") || !gl_is_software()))
        return renderer;
    if (renderer)
        SDL_DestroyRenderer(renderer);
    SDL_SetHint(SDL_HINT_FRAMEBUFFER_ACCELERATION, "0");
    return SDL_CreateRenderer(window, -1, SDL_RENDERER_SOFTWARE);
}

struct window *window_new(struct machine *machine, const struct window_options *options,
                          struct error *error)
{
    SDL_SetHint(SDL_HINT_VIDEO_ALLOW_SCREENSAVER, "1");
    SDL_SetHint(SDL_HINT_NO_SIGNAL_HANDLERS, "1");
    SDL_SetHint(SDL_HINT_VIDEO_X11_NET_WM_BYPASS_COMPOSITOR, "0");
    struct error reason;
    if (!display_start(&reason)) {
        error_set(error, "no display for the window (%s); use --display none or --headless",
                  reason.text);
        return NULL;
    }
    SDL_StopTextInput(); /* keys are for the guest: no input method may swallow them */
    struct window *window = calloc(1, sizeof *window);
    if (!window)
        abort();
    window->machine = machine;
    window->options = *options;
    if (!window->options.name)
        window->options.name = "PC";
    window->window = SDL_CreateWindow(
        window->options.name, SDL_WINDOWPOS_CENTERED, SDL_WINDOWPOS_CENTERED, MIN_WIDTH, MIN_HEIGHT,
        SDL_WINDOW_HIDDEN | SDL_WINDOW_RESIZABLE | SDL_WINDOW_ALLOW_HIGHDPI);
    if (window->window)
        window->renderer = new_renderer(window->window);
    if (!window->renderer) {
        error_set(error, "cannot open the window: %s; use --display none or --headless",
                  SDL_GetError());
        window_free(window);
        return NULL;
    }
    SDL_SetWindowMinimumSize(window->window, 320, 200);
    if (options->fullscreen)
        toggle_fullscreen(window);
    update_title(window);
    return window;
}

void window_free(struct window *window)
{
    if (!window)
        return;
    if (window->texture)
        SDL_DestroyTexture(window->texture);
    if (window->renderer)
        SDL_DestroyRenderer(window->renderer);
    if (window->window)
        SDL_DestroyWindow(window->window);
    SDL_Quit();
    free(window);
}
