# Tests: unit programs (tests/ROOM/test_*.c), larger programs and boot scripts, run by tests/check.sh.

TEST_ROOMS := $(sort $(patsubst tests/%/,%,$(dir $(wildcard tests/*/*.c))))
# Programs with a main() of their own beside test_*.c.
TEST_PROGRAMS := $(basename $(wildcard tests/cpu/oracle.c tests/cpu/vectors.c tests/cpu/isa_doc.c tests/guests/run_guest.c tests/hw/board_guest.c tests/boot/console.c tests/boot/screen.c tests/boot/hotplug.c tests/boot/file_server.c))
UNIT_TESTS := $(basename $(wildcard tests/*/test_*.c))
TEST_MAINS := $(UNIT_TESTS) $(TEST_PROGRAMS)
TEST_BINARIES := $(TEST_MAINS:%=$(BUILD)/%)
CHECK_CFLAGS := $(shell $(PKG_CONFIG) --cflags check 2>/dev/null)
CHECK_LIBS := $(shell $(PKG_CONFIG) --libs check 2>/dev/null)

# What several programs of a room share.
test_support = $(filter-out $(TEST_MAINS:%=%.c) %_main.c,$(wildcard tests/$(1)/*.c))

define test_rule
$$(BUILD)/$(1): $$(BUILD)/$(1).c.o $$(patsubst %,$$(BUILD)/%.o,$$(call test_support,$(notdir $(patsubst %/,%,$(dir $(1)))))) $$(ARCHIVES)
	@echo "  LINK  $$@"
	$$(Q)$$(CC) $$(LDFLAGS_ALL) -o $$@ $$(filter %.o,$$^) -Wl,--start-group $$(ARCHIVES) -Wl,--end-group $$(LDLIBS_ALL) $$(CHECK_LIBS)
endef

# Guests run on the engines that tests/cpu knows.
$(BUILD)/tests/guests/run_guest $(BUILD)/tests/hw/board_guest: $(BUILD)/tests/cpu/engines.c.o

$(BUILD)/tests/translator/test_window: $(BUILD)/tests/cpu/engines.c.o $(BUILD)/tests/cpu/user_guest.c.o

# -- What `make check` runs: NAME=COMMAND for tests/check.sh, slow ones first so that they overlap with the rest --

WINDOW_TESTS = keyboard linux graphics tablet vmmouse
BOOT_TESTS = amd64-verify pentium3 unpack amd64-translator i386-translator amd64-interpreter i386-interpreter network cards netboot disk ahci nvme usb-grub usb-xhci usb-uhci vectors grub-iso grub-floppy display sound-ac97 sound-hda sound-sb16 virtio virtio-grub q35 suspend uefi multiboot
LONG_PACKAGES = mmdebstrap uidmap e2fsprogs
LONG_TESTS = ethtool netboot-all hotplug i386-verify virtio-i386 memtest xen installer resets
boot_entry = "boot-$(1)=tests/boot/boot.sh $(BUILD) $(1)"
unit_name = $(subst /,-,$(patsubst tests/%,%,$(subst test_,,$(1))))
unit_entry = "$(call unit_name,$(1))=$(BUILD)/$(1)"

ifeq ($(SANITIZE),1)
# Units only, and none with the translator: generated code runs on a stack of its own, which the address sanitizer does not know.
CHECK_LIST = $(foreach test,$(filter-out tests/translator/% tests/cpu/test_avx,$(UNIT_TESTS)),$(call unit_entry,$(test)))
else
CHECK_LIST = $(foreach test,$(BOOT_TESTS),$(call boot_entry,$(test))) \
    "cpu-oracle=$(BUILD)/tests/cpu/oracle --systematic 4 --length 8 --count 500000" \
    "cpu-oracle-warm=$(BUILD)/tests/cpu/oracle --engine translator --hot 1000000 --systematic 2 --length 8 --count 150000" \
    "cpu-oracle-plain-host=$(BUILD)/tests/cpu/oracle --plain-host --only vex --systematic 2 --length 8 --count 100000" \
    "warnings-clang=tests/warnings.sh" "layout=tests/layout.sh" "docs-isa=tests/docs.sh $(BUILD)" \
    "cli=tests/cli/cli.sh $(BUILD)" "acpi=tests/boot/acpi.sh $(BUILD)" \
    "guest-code=$(BENCH_CODE)" \
    $(foreach part,$(WINDOW_TESTS),"ui-window-$(part)=tests/ui/window.sh $(BUILD) $(part)") \
    $(foreach test,$(UNIT_TESTS),$(call unit_entry,$(test)))
endif

# Captured real-mode vectors on each engine; skipped where ../shared/vectors is not there.
CHECK_LIST += "cpu-vectors-interpreter=$(BUILD)/tests/cpu/vectors"
ifneq ($(SANITIZE),1)
CHECK_LIST += "cpu-vectors-translator=$(BUILD)/tests/cpu/vectors --accel jit"
endif

# Bare-metal guests (tests/guests/guest.inc) on each engine; on the translator also instruction by instruction.
# Always GNU as: its macros.
GUESTS := $(patsubst tests/guests/%.S,%,$(wildcard tests/guests/*.S))
GUEST_BINARIES := $(GUESTS:%=$(BUILD)/guests/%.bin)
$(BUILD)/guests/%.bin: tests/guests/%.S tests/guests/guest.inc
	@mkdir -p $(@D)
	@echo "  GUEST $@"
	$(Q)gcc -m64 -nostdlib -static -no-pie -I. -Wl,-Ttext=0x8000,-e,_start,--build-id=none,--oformat=binary -o $@ $<
BOARD_GUEST_BINARIES := $(patsubst tests/guests/%.S,$(BUILD)/guests/%.bin,$(wildcard tests/guests/board/*.S))
TEST_BINARIES += $(GUEST_BINARIES) $(BOARD_GUEST_BINARIES)
CHECK_LIST += "guests-interpreter=$(BUILD)/tests/guests/run_guest $(GUEST_BINARIES)"
ifneq ($(SANITIZE),1)
CHECK_LIST += \
    "guests-translator=$(BUILD)/tests/guests/run_guest --accel jit --threshold 1 $(GUEST_BINARIES)" \
    "guests-warm=$(BUILD)/tests/guests/run_guest --accel jit --threshold 1 --hot 1000000 $(GUEST_BINARIES)" \
    "guests-become-hot=$(BUILD)/tests/guests/run_guest --accel jit --threshold 1 --hot 3 $(GUEST_BINARIES)" \
    "guests-window=$(BUILD)/tests/guests/run_guest --accel jit --threshold 1 --window $(GUEST_BINARIES)" \
    "guests-window-warm=$(BUILD)/tests/guests/run_guest --accel jit --threshold 1 --hot 1000000 --window $(GUEST_BINARIES)" \
    "guests-board-interpreter=$(BUILD)/tests/hw/board_guest $(BOARD_GUEST_BINARIES)" \
    "guests-board-translator=$(BUILD)/tests/hw/board_guest --accel jit --threshold 1 $(BOARD_GUEST_BINARIES)" \
    "guests-verify=$(BUILD)/tests/guests/run_guest --accel jit --threshold 1 --verify $(GUEST_BINARIES)" \
    "guests-translator-single=$(BUILD)/tests/guests/run_guest --accel jit --threshold 1 --max-insns 1 $(GUEST_BINARIES)"
endif

# -- The processor on another kind of host: decoder, interpreter and their tests built for AArch64, run by qemu-user --

AARCH64 = $(BUILD)/aarch64
AARCH64_RECORD = $(AARCH64)/oracle.gz
AARCH64_RECORD_COUNT ?= 50000
AARCH64_PROGRAMS = $(filter-out %/isa_doc,$(filter $(BUILD)/tests/cpu/%,$(TEST_BINARIES))) $(BUILD)/tests/guests/run_guest
AARCH64_TARGETS = $(AARCH64_PROGRAMS:$(BUILD)/%=$(AARCH64)/%)
aarch64_make = $(MAKE) --no-print-directory BUILD=$(AARCH64) ROOMS=cpu CC=aarch64-linux-gnu-gcc AR=aarch64-linux-gnu-ar \
    PKG_CFLAGS="-isystem $(AARCH64)/sysroot/include" PKG_LIBS="-lcapstone -lz" \
    CHECK_CFLAGS= CHECK_LIBS="-lcheck -lsubunit -lrt -lm" LDFLAGS="-static -L$(AARCH64)/sysroot/lib"
aarch64_entry = "aarch64-$(call unit_name,$(1))=qemu-aarch64-static $(AARCH64)/$(1) $(2)"
AARCH64_CHECK_LIST = $(call aarch64_entry,tests/cpu/oracle,--engine interpreter --replay $(AARCH64_RECORD)) \
    $(call aarch64_entry,tests/cpu/vectors) $(call aarch64_entry,tests/guests/run_guest,$(GUEST_BINARIES)) \
    $(foreach test,$(filter-out tests/cpu/test_decode,$(filter tests/cpu/%,$(UNIT_TESTS))),$(call aarch64_entry,$(test)))
AARCH64_LONG_LIST = $(call aarch64_entry,tests/cpu/test_decode)
ifneq ($(SANITIZE),1)
CHECK_LIST += $(AARCH64_CHECK_LIST) \
    "cpu-oracle-window=$(BUILD)/tests/cpu/oracle --engine translator --window --replay $(AARCH64_RECORD)" \
    "cpu-oracle-window-warm=$(BUILD)/tests/cpu/oracle --engine translator --hot 1000000 --window --replay $(AARCH64_RECORD)"
CHECK_EXTRA = aarch64-binaries
endif

# -- Conformance to hardware: a campaign of more than 200 million comparisons with the host processor, as parts that
# run at the same time; others with SEED= --

SEED ?= 1
CONFORMANCE_PARTS ?= 6
CONFORMANCE_LIST = $(foreach part,$(shell seq $(SEED) $$(($(SEED) + $(CONFORMANCE_PARTS) - 1))), \
    "conformance-$(part)=$(BUILD)/tests/cpu/oracle --systematic 20 --length 10 --count 1500000 --seed $(part)") \
    "conformance-plain-host=$(BUILD)/tests/cpu/oracle --plain-host --systematic 20 --length 10 --count 500000 --seed $(SEED)" \
    "conformance-transcendental=$(BUILD)/tests/cpu/test_transcendental 1000000"

.PHONY: conformance
conformance: deps
	$(Q)$(MAKE) --no-print-directory -s -j$(shell nproc) check-binaries
	$(Q)TEST_TIMEOUT=7200 nice tests/check.sh $(BUILD) $(CONFORMANCE_LIST)
	$(Q)tail -qn 1 $(BUILD)/check/conformance-[0-9]*.log | awk '{n += $$1; d += $$3} END {print n, "comparisons,", d, "differences"}'

.PHONY: aarch64-binaries check-aarch64
aarch64-binaries: $(BUILD)/tests/cpu/oracle $(GUEST_BINARIES)
	$(Q)tests/aarch64.sh $(AARCH64)/sysroot
	+$(Q)$(aarch64_make) $(AARCH64_TARGETS)
	$(Q)$(BUILD)/tests/cpu/oracle --engine interpreter --count $(AARCH64_RECORD_COUNT) --record $(AARCH64_RECORD) || [ $$? -eq 77 ]
check-aarch64: deps
	$(Q)$(MAKE) --no-print-directory -s -j$(shell nproc) aarch64-binaries
	$(Q)tests/check.sh $(BUILD) $(AARCH64_LONG_LIST) $(AARCH64_CHECK_LIST)

# What boot.sh takes into guests: compiled for the processor that they have, static.
$(BUILD)/tests/programs/tone-amd64 $(BUILD)/tests/programs/tone-i386: $(BUILD)/tests/programs/tone-%: tests/programs/tone.c
	@mkdir -p $(@D)
	@echo "  CC    $@"
	$(Q)gcc -std=gnu11 $(if $(filter i386,$*),-m32) $(WARNINGS) -O2 -ffreestanding -fno-pic -no-pie -fno-stack-protector -nostdlib -static -o $@ $<
# Without a C library, which Debian has for 32 bits only beside another compiler; its constants stand in executable pages.
$(BUILD)/tests/programs/illegal: tests/programs/illegal.c
	@mkdir -p $(@D)
	@echo "  CC    $@"
	$(Q)gcc -std=gnu11 $(WARNINGS) -m32 -march=i686 -mno-sse -O2 -ffreestanding -fno-pic -no-pie -nostdlib -static \
	    -fno-stack-protector -fcf-protection=none -Wl,-z,noseparate-code,--build-id=none -o $@ $<
$(BUILD)/tests/programs/vectors: tests/programs/vectors.c
	@mkdir -p $(@D)
	@echo "  CC    $@"
	$(Q)gcc -std=gnu11 $(WARNINGS) -O3 -march=x86-64-v3 -static -o $@ $< -lm
ifeq ($(shell uname -m),x86_64)
TEST_BINARIES += $(BUILD)/tests/programs/illegal $(BUILD)/tests/programs/vectors $(BUILD)/tests/programs/tone-amd64 $(BUILD)/tests/programs/tone-i386
endif

# A Debian system with an x86-64-v3 processor, and one with a Pentium III: their programs' results.
USERLAND_LIST = "userland=tests/userland/userland.sh $(BUILD)" $(call boot_entry,pentium3)
.PHONY: check-userland
check-userland: deps
	@tests/deps.sh $(USERLAND_PACKAGES)
	$(Q)$(MAKE) --no-print-directory -s -j$(shell nproc) check-binaries
	$(Q)tests/guests.sh amd64 i386 userland
	$(Q)TEST_TIMEOUT=3600 tests/check.sh $(BUILD) $(USERLAND_LIST)

.PHONY: docs
docs: $(BUILD)/tests/cpu/isa_doc
	$(Q)$< >docs/isa.md.new && mv docs/isa.md.new docs/isa.md

# Host code of chosen guest sequences (tests/translator/test_golden.c).
$(BUILD)/tests/translator/test_golden.c.o: $(wildcard tests/translator/golden/*.s)
$(BUILD)/tests/translator/programs.c.o: $(wildcard tests/translator/*.s)
.PHONY: golden-update
golden-update: $(BUILD)/tests/translator/test_golden
	$(Q)GOLDEN_UPDATE=1 $<
	$(Q)git diff --stat -- tests/translator/golden

.PHONY: check check-long check-binaries
check: deps
	$(Q)$(MAKE) --no-print-directory -s -j$(shell nproc) WERROR=$(if $(filter 1,$(SANITIZE)),0,1) check-binaries $(CHECK_EXTRA)
	$(Q)tests/guests.sh amd64 i386 grub uefi multiboot netboot
	$(Q)$(if $(filter 1,$(SANITIZE)),,$(MAKE) --no-print-directory -s bench-code-guest)
	$(Q)tests/check.sh $(BUILD) $(CHECK_LIST)

# The campaigns: whole boots and real programs in lockstep, long comparisons with the host processor.
check-long: deps bench-disk
	@tests/deps.sh $(USERLAND_PACKAGES) $(LONG_PACKAGES)
	$(Q)$(MAKE) --no-print-directory -s -j$(shell nproc) check-binaries aarch64-binaries
	$(Q)tests/guests.sh amd64 i386 grub uefi multiboot netboot ethtool userland rescue installer
	$(Q)TEST_TIMEOUT=7200 tests/check.sh $(BUILD) \
	    "system=tests/boot/system.sh $(BUILD) install life buses efi window logs" \
	    "ui-window-installer=tests/ui/window.sh $(BUILD) installer" $(foreach test,$(LONG_TESTS) amd64-verify,$(call boot_entry,$(test))) \
	    $(CONFORMANCE_LIST) $(AARCH64_LONG_LIST) $(AARCH64_CHECK_LIST) $(USERLAND_LIST) \
	    "hostile=$(BUILD)/tests/hw/test_hostile 1000000" \
	    "hostile-virtio=$(BUILD)/tests/hw/test_virtio_hostile 1000000" \
	    "hostile-rtl8139=$(BUILD)/tests/hw/test_rtl8139 1000000" \
	    "hostile-ne2000=$(BUILD)/tests/hw/test_ne2000 10000000" \
	    "hostile-usb=$(BUILD)/tests/hw/test_usb_hostile 20000000" \
	    "bench-verify=$(BENCH_VERIFY)" "guest-jit=$(BENCH_JIT)"

check-binaries: doppel $(TEST_BINARIES)
	@:

# For tests/warnings.sh.
.PHONY: print-flags
print-flags:
	@echo '$(CPPFLAGS_ALL) $(CHECK_CFLAGS) -std=gnu11 $(WARNINGS) -fno-strict-aliasing -O2 -pthread'
