# doppel: `make run` opens a demo guest in a window, `make check` tests everything, `make help` lists the rest.

.DEFAULT_GOAL = all
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

WARNINGS = -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wno-unused-parameter
ifeq ($(WERROR),1)
WARNINGS += -Werror
endif
CFLAGS ?= -O2 -g
ifeq ($(DEBUG),1)
CFLAGS = -O0 -g3
endif
ifeq ($(SANITIZE),1)
BUILD := $(BUILD)-sanitize
SANITIZERS = -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
endif
PACKAGES = sdl2 slirp zlib liblzma libzstd capstone
# Immediate, and only once per run: pkg-config is slow. Missing packages are reported by `make deps`.
PKG_CFLAGS := $(shell $(PKG_CONFIG) --cflags $(PACKAGES) 2>/dev/null)
PKG_LIBS := $(shell $(PKG_CONFIG) --libs $(PACKAGES) 2>/dev/null)
CPPFLAGS_ALL = -I. -D_GNU_SOURCE $(PKG_CFLAGS) $(CPPFLAGS)
# paging_refill() and x87_load() are called with the guest's vectors in the host's registers.
ifeq ($(firstword $(subst -, ,$(shell $(CC) -dumpmachine))),x86_64)
CFLAGS_cpu_paging = -mgeneral-regs-only
CFLAGS_cpu_code = -mgeneral-regs-only
CFLAGS_translator_x86_64_x87_state = -mgeneral-regs-only
endif
CFLAGS_ALL = -std=gnu11 $(WARNINGS) -fno-strict-aliasing $(CFLAGS) $(SANITIZERS) -pthread
LDFLAGS_ALL = $(LDFLAGS) $(SANITIZERS) -pthread
LDLIBS_ALL = $(PKG_LIBS) -lm

# What building and the demo guest need, and what tests and benchmarks need beyond that.
RUN_PACKAGES = gcc make pkg-config libc6-dev libsdl2-dev libslirp-dev zlib1g-dev liblzma-dev libzstd-dev libcapstone-dev acpica-tools \
    seabios cpio kmod
TEST_PACKAGES = check clang ovmf ipxe-qemu mtools xz-utils xxd grub-common grub-efi-amd64-bin qemu-system-x86 qemu-utils xvfb xdotool jwm imagemagick \
    gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static

.PHONY: deps
deps:
	@tests/deps.sh $(RUN_PACKAGES) $(TEST_PACKAGES)

# -- The program: one archive per room, linked in one go --

SOURCES := $(filter-out ui/main.c bios/kernelboot.S,$(shell find $(ROOMS) -name '*.c' -o -name '*.S' | sort))
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

# Pieces of bios/ that other tools make (bios/blobs.S puts them into the program).
KERNELBOOT_BLOCKS = 3
$(BUILD)/bios/kernelboot.bin: bios/kernelboot.S
	@mkdir -p $(@D)
	@echo "  AS    $@"
	$(Q)$(CC) -m32 -DROM_BLOCKS=$(KERNELBOOT_BLOCKS) -c -o $(@:.bin=.o) $<
	$(Q)$(LD) -m elf_i386 -Ttext 0 --oformat binary -o $@ $(@:.bin=.o)
$(BUILD)/bios/%.aml: bios/%.asl $(wildcard bios/*.asi)
	@mkdir -p $(@D)
	@echo "  IASL  $@"
	$(Q)iasl -I bios -p $(@:.aml=) -we $< >$(@:.aml=.log) 2>&1 || { cat $(@:.aml=.log); exit 1; }
$(BUILD)/bios/blobs.S.o: $(BUILD)/bios/kernelboot.bin $(BUILD)/bios/dsdt_pc.aml $(BUILD)/bios/dsdt_q35.aml
$(BUILD)/bios/blobs.S.o: CPPFLAGS += -Wa,-I$(BUILD)/bios

$(BUILD)/%.c.o: %.c
	@mkdir -p $(@D)
	@echo "  CC    $<"
	$(Q)$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) $(CFLAGS_$(subst /,_,$*)) -MMD -MP -c -o $@ $<
$(BUILD)/%.S.o: %.S
	@mkdir -p $(@D)
	@echo "  AS    $<"
	$(Q)$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

# -- Using it --

.PHONY: run guests help
run:
	@tests/deps.sh $(RUN_PACKAGES)
	$(Q)$(MAKE) --no-print-directory -j$(shell nproc) doppel
	$(Q)tests/guests.sh amd64
	$(BUILD)/doppel run --name "Debian kernel demo" --memory 512M \
	    --kernel .cache/guests/amd64/vmlinuz --initrd .cache/guests/amd64/initrd.gz --append "quiet"

guests:
	$(Q)tests/guests.sh amd64 i386 grub uefi multiboot

help:
	@echo "make              build ./doppel"
	@echo "make run          install what is missing, build, open a demo guest in a window"
	@echo "make check        install what is missing, run all tests (T=WORD: only those named so)"
	@echo "make conformance  200 million comparisons with the host processor (SEED=)"
	@echo "make check-userland  Debian programs in guests give what they give natively"
	@echo "make check-aarch64  decoder and interpreter on AArch64, by a cross compiler and qemu-user"
	@echo "make check-long   the campaigns: whole boots under --verify, long oracle runs"
	@echo "make bench        compare with native execution and QEMU (ROUNDS=, ONLY=, SYSTEMS=); bench-quick, bench-micro, bench-io"
	@echo "make golden-update  accept the translator's host code in tests/translator/golden"
	@echo "make guests       fetch and build the test guests"
	@echo "make docs         write docs/isa.md from the instruction table"
	@echo "make lint         clang-format, clang-tidy and cppcheck"
	@echo "make install      into DESTDIR/PREFIX ($(PREFIX))"
	@echo "Variables: V=1 shows commands, DEBUG=1, SANITIZE=1, WERROR=1, CC=clang, BUILD=folder"

# -- Installing --

.PHONY: install uninstall
install: $(BUILD)/doppel
	install -D -m 755 $(BUILD)/doppel $(DESTDIR)$(PREFIX)/bin/doppel
	install -D -m 644 docs/doppel.1 $(DESTDIR)$(PREFIX)/share/man/man1/doppel.1
	install -D -m 644 LICENSE $(DESTDIR)$(PREFIX)/share/doc/doppel/LICENSE
uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/doppel $(DESTDIR)$(PREFIX)/share/man/man1/doppel.1
	rm -rf $(DESTDIR)$(PREFIX)/share/doc/doppel

# -- Checking --

.PHONY: lint
lint:
	clang-format --dry-run -Werror $(shell git ls-files '*.c' '*.h')
	cppcheck --quiet --inline-suppr --error-exitcode=1 --enable=warning,portability -I. \
	    --suppress=missingIncludeSystem $(ROOMS)

.PHONY: clean
clean:
	rm -rf build build-* doppel

include tests/tests.mk
include tests/bench/bench.mk
$(foreach main,$(TEST_MAINS),$(eval $(call test_rule,$(main))))
$(TEST_BINARIES:%=%.c.o): CPPFLAGS += $(CHECK_CFLAGS)

-include $(shell find $(BUILD) -name '*.d' -type f 2>/dev/null)
