# Tests: unit programs (tests/ROOM/test_*.c), larger programs and boot scripts, run by tests/check.sh.

TEST_ROOMS := $(sort $(patsubst tests/%/,%,$(dir $(wildcard tests/*/*.c))))
# Programs with a main() of their own beside test_*.c.
TEST_PROGRAMS := $(basename $(wildcard tests/cpu/oracle.c tests/cpu/vectors.c tests/guests/run_guest.c tests/boot/console.c tests/boot/screen.c tests/boot/file_server.c))
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

# Captured real-mode vectors on each engine; skipped where ../shared/vectors is not there.
CHECK_LIST += "cpu-vectors-interp=$(BUILD)/tests/cpu/vectors" "cpu-vectors-jit=$(BUILD)/tests/cpu/vectors --accel jit"

# Bare-metal guests (tests/guests/guest.inc) on each engine; on the translator also instruction by instruction.
# Always GNU as: its macros.
GUESTS := $(patsubst tests/guests/%.S,%,$(wildcard tests/guests/*.S))
GUEST_BINARIES := $(GUESTS:%=$(BUILD)/guests/%.bin)
$(BUILD)/guests/%.bin: tests/guests/%.S tests/guests/guest.inc
	@mkdir -p $(@D)
	@echo "  GUEST $@"
	$(Q)gcc -m64 -nostdlib -static -no-pie -I. -Wl,-Ttext=0x8000,-e,_start,--build-id=none,--oformat=binary -o $@ $<
TEST_BINARIES += $(GUEST_BINARIES)
CHECK_LIST += "guests-interp=$(BUILD)/tests/guests/run_guest $(GUEST_BINARIES)" \
    "guests-jit=$(BUILD)/tests/guests/run_guest --accel jit --threshold 1 $(GUEST_BINARIES)" \
    "guests-jit-single=$(BUILD)/tests/guests/run_guest --accel jit --threshold 1 --max-insns 1 $(GUEST_BINARIES)"
