# doppel: `make run` opens a demo guest in a window, `make check` tests everything, `make help` lists the rest.

BUILD ?= build
CC ?= gcc
ifeq ($(origin CC),default)
CC = gcc
endif
AR ?= ar
PKG_CONFIG ?= pkg-config
PREFIX ?= /usr/local
DESTDIR ?=
ROOMS = cpu translator hw net bios ui

ifeq ($(V),1)
Q =
else
Q = @
endif

VERSION = 0.1.0

WARNINGS = -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wno-unused-parameter
CFLAGS ?= -O2 -g
ifeq ($(DEBUG),1)
CFLAGS = -O0 -g3
endif
ifeq ($(SANITIZE),1)
BUILD := $(BUILD)-sanitize
SANITIZERS = -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
endif
PACKAGES = sdl2 slirp zlib capstone
# Immediate, and only once per run: pkg-config is slow. Missing packages are reported by `make deps`.
PKG_CFLAGS := $(shell $(PKG_CONFIG) --cflags $(PACKAGES) 2>/dev/null)
PKG_LIBS := $(shell $(PKG_CONFIG) --libs $(PACKAGES) 2>/dev/null)
CPPFLAGS_ALL = -I. -D_GNU_SOURCE -DDOPPEL_VERSION='"$(VERSION)"' $(PKG_CFLAGS) $(CPPFLAGS)
CFLAGS_ALL = -std=gnu11 $(WARNINGS) -fno-strict-aliasing $(CFLAGS) $(SANITIZERS) -pthread
LDFLAGS_ALL = $(LDFLAGS) $(SANITIZERS) -pthread
LDLIBS_ALL = $(PKG_LIBS) -lm

include tests/tests.mk

# -- The program: one archive per room, linked in one go --

SOURCES := $(filter-out ui/main.c,$(shell find $(ROOMS) -name '*.c' -o -name '*.S' | sort))
objects = $(patsubst %,$(BUILD)/%.o,$(filter $(1)/%,$(SOURCES)))
ARCHIVES = $(ROOMS:%=$(BUILD)/%.a)
OBJECTS = $(SOURCES:%=$(BUILD)/%.o) $(BUILD)/ui/main.c.o

.PHONY: all
all: doppel
doppel: $(BUILD)/doppel
	$(Q)ln -sf $< $@

$(BUILD)/doppel: $(BUILD)/ui/main.c.o $(ARCHIVES)
	@echo "  LINK  $@"
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $< -Wl,--start-group $(ARCHIVES) -Wl,--end-group $(LDLIBS_ALL)

define room_archive
$$(BUILD)/$(1).a: $$(call objects,$(1))
	$$(Q)rm -f $$@; $$(AR) rcs $$@ $$^
endef
$(foreach room,$(ROOMS),$(eval $(call room_archive,$(room))))

$(BUILD)/%.c.o: %.c
	@mkdir -p $(@D)
	@echo "  CC    $<"
	$(Q)$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) $(CFLAGS_$(subst /,_,$*)) -MMD -MP -c -o $@ $<
$(BUILD)/%.S.o: %.S
	@mkdir -p $(@D)
	@echo "  AS    $<"
	$(Q)$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

.PHONY: clean
clean:
	rm -rf build build-* doppel

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
