# bld: one GNU Makefile, not recursive. `make help` lists the targets.

VERSION := 0.1.0
# Of libbld.so, X.Y.Z: X changes when programs must be linked anew, Y when there is more to link to,
# whatever VERSION does. X is the soname's, and the node's in tools/libbld.map.
ABI_VERSION := 0.1.0
SOVERSION := $(firstword $(subst ., ,$(ABI_VERSION)))

# ---- what the user may set ----
CC ?= gcc
ifeq ($(origin CC),default)
CC := gcc
endif
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
DESTDIR ?=
MODE ?= dev
WERROR ?= 0
V ?= 0
CFLAGS ?= -O2 -g
PKG_CONFIG ?= pkg-config

BUILD := build/$(MODE)
Q := $(if $(filter 1,$(V)),,@)

# ---- modules, lowest first (tools/check-layers knows which may include which) ----
MODULES := base parser image cas layer registry runtime builder lib
SRCS := $(foreach m,$(MODULES),$(wildcard $(m)/*.c $(m)/*/*.c))
CLI_SRCS := $(wildcard cli/*.c)
OBJS := $(SRCS:%.c=$(BUILD)/%.o)
CLI_OBJS := $(CLI_SRCS:%.c=$(BUILD)/%.o)
UNIT_TESTS := $(patsubst tests/unit/%.c,%,$(wildcard tests/unit/test_*.c))
UNIT_HELPERS := $(filter-out $(wildcard tests/unit/test_*.c),$(wildcard tests/unit/*.c))
FUZZ_TARGETS := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_HELPERS := $(filter-out tests/fuzz/replay.c $(wildcard tests/fuzz/fuzz_*.c),$(wildcard tests/fuzz/*.c))
HEADERS := $(wildcard $(foreach m,$(MODULES) cli,$(m)/*.h $(m)/*/*.h))
PUBLIC_HEADERS := $(wildcard include/bld/*.h)
MAN_PAGES := $(patsubst docs/man/%.scd,%,$(wildcard docs/man/*.scd))

# ---- flags ----
ifeq ($(MODE),fuzz) # before anybody asks the compiler what it knows
CC := clang
endif
try = $(shell $(CC) -Werror $(1) -c -x c /dev/null -o /dev/null 2>/dev/null && echo '$(1)')

WARN := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wstrict-prototypes \
	-Wold-style-definition -Wmissing-prototypes -Wmissing-declarations -Wpointer-arith \
	-Wcast-qual -Wwrite-strings -Wformat=2 -Wundef -Wvla -Wswitch-enum -Wimplicit-fallthrough \
	-Wnull-dereference -Wdouble-promotion -Wdate-time
WARN += $(call try,-Wjump-misses-init) $(call try,-Wlogical-op) $(call try,-Wduplicated-cond) \
	$(call try,-Wtrampolines)
HARDEN := -fstack-protector-strong -fno-common -fno-strict-overflow \
	$(call try,-fstack-clash-protection) $(call try,-fcf-protection=full)
FORTIFY := -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2

BLD_CPPFLAGS := -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -I. -Iinclude -include base/banned.h \
	-DBLD_VERSION='"$(VERSION)"'
BLD_CFLAGS := -std=gnu17 $(WARN) $(HARDEN) -fPIC -fvisibility=hidden -pthread
BLD_LDFLAGS := -pthread -Wl,-z,relro,-z,now,-z,noexecstack,--as-needed
ifeq ($(WERROR),1)
BLD_CFLAGS += -Werror
endif

ifeq ($(MODE),dev)
BLD_CPPFLAGS += $(FORTIFY)
else ifeq ($(MODE),asan)
SAN := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
CFLAGS := -O1 -g
else ifeq ($(MODE),tsan)
SAN := -fsanitize=thread -fno-omit-frame-pointer
CFLAGS := -O1 -g
else ifeq ($(MODE),cov)
SAN := --coverage
CFLAGS := -O0 -g
else ifeq ($(MODE),fuzz)
SAN := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
CFLAGS := -O1 -g
else
$(error unknown MODE "$(MODE)": dev, asan, tsan, cov or fuzz)
endif
BLD_CFLAGS += $(SAN)
BLD_LDFLAGS += $(SAN)

# ---- libraries: static archives into bld, so that it starts with libc alone; libcurl and ISA-L are
# opened with dlopen at first use and are not named here ----
STATIC_LIBS := -Wl,-Bstatic -larchive -lcrypto -ljansson -lzstd -lseccomp -ldeflate -lz -llzma -lbz2 -lyaml \
	-Wl,-Bdynamic -ldl -lm
SHARED_LIBS := -larchive -lcrypto -ljansson -lzstd -lseccomp -ldeflate -lz -llzma -lbz2 -ldl -lm

all: $(BUILD)/bld $(BUILD)/libbld.a $(BUILD)/libbld.so

-include $(OBJS:.o=.d) $(CLI_OBJS:.o=.d) $(UNIT_TESTS:%=$(BUILD)/tests/unit/%.d) \
	$(UNIT_HELPERS:%.c=$(BUILD)/%.d) $(FUZZ_TARGETS:%=$(BUILD)/tests/fuzz/%.d) \
	$(FUZZ_HELPERS:%.c=$(BUILD)/%.d)

# A changed flag set rebuilds: the stamp's content is the flags.
FLAGS_STAMP := $(BUILD)/.flags
FLAGS_NOW := $(CC) $(BLD_CPPFLAGS) $(BLD_CFLAGS) $(CPPFLAGS) $(CFLAGS)
$(FLAGS_STAMP): FORCE
	$(Q)mkdir -p $(@D)
	$(Q)printf '%s\n' '$(subst ','\'',$(FLAGS_NOW))' | cmp -s - $@ || \
		printf '%s\n' '$(subst ','\'',$(FLAGS_NOW))' >$@

$(BUILD)/%.o: %.c $(FLAGS_STAMP)
	$(Q)mkdir -p $(@D)
	$(if $(Q),@echo "  CC    $<")
	$(Q)$(CC) $(BLD_CPPFLAGS) $(CPPFLAGS) $(BLD_CFLAGS) $(CFLAGS) -MMD -MP -c $< -o $@

# What its assembler takes in, which no compiler lists.
$(BUILD)/cli/page.o: $(wildcard cli/page/*)

# Everything in one archive with internal names, for the program and the tests.
$(BUILD)/libinternal.a: $(OBJS)
	$(if $(Q),@echo "  AR    $@")
	$(Q)rm -f $@ && $(AR) qcs $@ $^

$(BUILD)/bld: $(CLI_OBJS) $(BUILD)/libinternal.a
	$(if $(Q),@echo "  LINK  $@")
	$(Q)$(CC) $(BLD_LDFLAGS) $(LDFLAGS) -pie -o $@ $(CLI_OBJS) $(BUILD)/libinternal.a $(STATIC_LIBS)

$(BUILD)/libbld.so: $(OBJS) tools/libbld.map
	$(if $(Q),@echo "  LINK  $@")
	$(Q)$(CC) $(BLD_LDFLAGS) $(LDFLAGS) -shared -Wl,-soname,libbld.so.$(SOVERSION) \
		-Wl,--version-script=tools/libbld.map -o $@.$(ABI_VERSION) $(OBJS) $(SHARED_LIBS)
	$(Q)ln -sf libbld.so.$(ABI_VERSION) $@.$(SOVERSION)
	$(Q)ln -sf libbld.so.$(SOVERSION) $@

# The installed archive shows public names only: a user's own err_set must not clash.
$(BUILD)/libbld.a: $(OBJS)
	$(if $(Q),@echo "  AR    $@")
	$(Q)ld -r -o $(BUILD)/libbld.o $(OBJS)
	$(Q)objcopy --wildcard --keep-global-symbol='bld_*' $(BUILD)/libbld.o
	$(Q)rm -f $@ && $(AR) qcs $@ $(BUILD)/libbld.o

# ---- tests ----
# An archive: a test takes only the helpers it asks for, and what those bring.
$(BUILD)/tests/unit/libhelpers.a: $(UNIT_HELPERS:%.c=$(BUILD)/%.o)
	$(if $(Q),@echo "  AR    $@")
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(BUILD)/tests/unit/%: $(BUILD)/tests/unit/%.o $(BUILD)/tests/unit/libhelpers.a $(BUILD)/libinternal.a
	$(if $(Q),@echo "  LINK  $@")
	$(Q)$(CC) $(BLD_LDFLAGS) $(LDFLAGS) -o $@ $^ -lcmocka $(STATIC_LIBS)

# The program without its main, for tests of its parts.
$(BUILD)/libcli.a: $(filter-out $(BUILD)/cli/main.o,$(CLI_OBJS))
	$(if $(Q),@echo "  AR    $@")
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(BUILD)/tests/unit/test_cli_%: $(BUILD)/tests/unit/test_cli_%.o $(BUILD)/libcli.a $(BUILD)/libinternal.a
	$(if $(Q),@echo "  LINK  $@")
	$(Q)$(CC) $(BLD_LDFLAGS) $(LDFLAGS) -o $@ $^ -lcmocka $(STATIC_LIBS)

# A program of a user's: public headers, and the archive that shows public names only.
$(BUILD)/tests/e2e/%_driver: tests/e2e/%_driver.c $(PUBLIC_HEADERS) $(BUILD)/libbld.a
	$(Q)mkdir -p $(@D)
	$(if $(Q),@echo "  LINK  $@")
	$(Q)$(CC) -D_GNU_SOURCE -Iinclude -Wall -Wextra -Wshadow $(CFLAGS) $(SAN) $(BLD_LDFLAGS) $(LDFLAGS) -o $@ $< \
		$(BUILD)/libbld.a $(STATIC_LIBS)

$(BUILD)/tests/fuzz/replay_%: $(BUILD)/tests/fuzz/fuzz_%.o $(BUILD)/tests/fuzz/replay.o $(FUZZ_HELPERS:%.c=$(BUILD)/%.o) $(BUILD)/libinternal.a
	$(if $(Q),@echo "  LINK  $@")
	$(Q)$(CC) $(BLD_LDFLAGS) $(LDFLAGS) -o $@ $^ $(STATIC_LIBS)

# Benches that use what is inside; the others need a compiler only.
$(BUILD)/tests/bench/floor_scan: $(BUILD)/tests/bench/floor_scan.o $(BUILD)/libinternal.a
	$(if $(Q),@echo "  LINK  $@")
	$(Q)$(CC) $(BLD_LDFLAGS) $(LDFLAGS) -o $@ $^ $(STATIC_LIBS)

$(BUILD)/tests/fuzz/fuzz_%: $(BUILD)/tests/fuzz/fuzz_%.o $(FUZZ_HELPERS:%.c=$(BUILD)/%.o) $(BUILD)/libinternal.a
	$(Q)$(CC) $(BLD_LDFLAGS) $(LDFLAGS) -fsanitize=fuzzer -o $@ $^ $(STATIC_LIBS)

check: deps ## install what tests need, then run every test
	$(Q)$(MAKE) --no-print-directory check-layers check-headers all
	$(Q)$(MAKE) --no-print-directory check-unit fuzz-regress check-abi check-install check-docs check-cases check-e2e

check-unit: $(UNIT_TESTS:%=$(BUILD)/tests/unit/%) ## unit tests (cmocka)
	$(Q)tools/run-unit $(BUILD)/tests/unit $(UNIT_TESTS)

check-e2e: all $(BUILD)/tests/e2e/oracle_driver $(BUILD)/tests/e2e/hostile_driver ## end-to-end tests: the real binary against real parts
	$(Q)BLD=$(abspath $(BUILD)/bld) tests/e2e/run $(E2E)

check-cases: $(BUILD)/bld ## reference cases, where the folder ../shared/cases is present
	$(Q)if [ -d ../shared/cases ]; then BLD=$(abspath $(BUILD)/bld) tools/check-cases ../shared/cases; fi

check-layers: ## every include goes one way
	$(Q)tools/check-layers

check-headers: ## every header compiles alone; public ones as C++11, too
	$(Q)for h in $(HEADERS) $(PUBLIC_HEADERS); do \
		$(CC) $(BLD_CPPFLAGS) -std=gnu17 $(WARN) -Werror -fsyntax-only -x c $$h || exit 1; done
	$(Q)for h in $(PUBLIC_HEADERS); do \
		g++ -std=c++11 -Wall -Wextra -Werror -Iinclude -fsyntax-only -x c++ $$h || exit 1; done
	@echo "headers: ok"

check-install: all ## install into a scratch folder and compile a user's program against it
	$(Q)tools/check-install $(BUILD)

check-abi: all ## what programs are linked against, held against its record in tools/libbld.*
	$(Q)tools/check-abi $(BUILD)
abi-accept: all ## take additions to it into the record
	$(Q)tools/check-abi $(BUILD) --accept
abi-break: all ## take what breaks programs into it, once ABI_VERSION has a higher soname
	$(Q)tools/check-abi $(BUILD) --break

check-docs: $(BUILD)/bld ## documents name only what exists
	$(Q)BLD=$(abspath $(BUILD)/bld) tools/check-docs

check-static: ## gcc -fanalyzer, shellcheck, our own rules
	$(Q)tools/check-static

asan: ## unit and end-to-end tests under AddressSanitizer and UBSan
	$(Q)$(MAKE) --no-print-directory MODE=asan check-unit fuzz-regress check-e2e

tsan: ## unit and end-to-end tests under ThreadSanitizer
	$(Q)$(MAKE) --no-print-directory MODE=tsan check-unit check-e2e

fuzz-regress: $(FUZZ_TARGETS:fuzz_%=$(BUILD)/tests/fuzz/replay_%) ## replay the committed corpora
	$(Q)for t in $(FUZZ_TARGETS:fuzz_%=%); do \
		$(BUILD)/tests/fuzz/replay_$$t testdata/fuzz/$$t || exit 1; done

fuzz: ## FUZZ_SECONDS (60) of coverage-guided fuzzing per target, with clang
	$(Q)$(MAKE) --no-print-directory MODE=fuzz fuzz-run
fuzz-run: $(FUZZ_TARGETS:%=$(BUILD)/tests/fuzz/%)
	$(Q)for t in $(FUZZ_TARGETS:fuzz_%=%); do mkdir -p $(BUILD)/corpus/$$t; \
		$(BUILD)/tests/fuzz/fuzz_$$t -max_total_time=$(or $(FUZZ_SECONDS),60) -print_final_stats=1 \
		$(BUILD)/corpus/$$t testdata/fuzz/$$t || exit 1; done

bench: all $(BUILD)/tests/bench/floor_scan ## ratios to the physical floor and to peers, in one run
	$(Q)BLD=$(abspath $(BUILD)/bld) tests/bench/run

demo: deps-build ## build bld, a small base image and testdata/demo, and show the result
	$(Q)$(MAKE) --no-print-directory all
	$(Q)BLD=$(abspath $(BUILD)/bld) tools/demo

deps-build:
	$(Q)tools/install-deps build
deps:
	$(Q)tools/install-deps test

format: ## clang-format every source
	$(Q)git ls-files '*.c' '*.h' | xargs clang-format -i
format-check: ## fail where clang-format would change a line
	$(Q)git ls-files '*.c' '*.h' | xargs clang-format --dry-run -Werror

install: all ## bin, lib, headers, pkg-config file, man pages, below $(DESTDIR)$(PREFIX)
	$(Q)$(MAKE) --no-print-directory install-files

# What is built, as it is. Nobody finds a library in /usr/local/lib before ldconfig has seen it.
LDCONFIG ?= ldconfig
install-files:
	install -d $(addprefix $(DESTDIR),$(PREFIX)/bin $(LIBDIR)/pkgconfig $(PREFIX)/include/bld)
	install -m 755 $(BUILD)/bld $(DESTDIR)$(PREFIX)/bin/bld
	install -m 644 $(BUILD)/libbld.a $(DESTDIR)$(LIBDIR)/
	install -m 755 $(BUILD)/libbld.so.$(ABI_VERSION) $(DESTDIR)$(LIBDIR)/
	ln -sf libbld.so.$(ABI_VERSION) $(DESTDIR)$(LIBDIR)/libbld.so.$(SOVERSION)
	ln -sf libbld.so.$(SOVERSION) $(DESTDIR)$(LIBDIR)/libbld.so
	install -m 644 $(PUBLIC_HEADERS) $(DESTDIR)$(PREFIX)/include/bld/
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR:$(PREFIX)/%=$${prefix}/%)|' \
		-e 's|@VERSION@|$(VERSION)|' tools/bld.pc.in >$(DESTDIR)$(LIBDIR)/pkgconfig/bld.pc
	$(Q)if command -v scdoc >/dev/null; then for p in $(MAN_PAGES); do \
		d=$(DESTDIR)$(PREFIX)/share/man/man$${p##*.}; install -d $$d; \
		scdoc <docs/man/$$p.scd >$$d/$$p || exit 1; done; fi
	$(if $(DESTDIR),,@PATH="$$PATH:/sbin:/usr/sbin" $(LDCONFIG) 2>/dev/null || true)

uninstall: ## remove what install put there
	rm -f $(DESTDIR)$(PREFIX)/bin/bld $(addprefix $(DESTDIR)$(LIBDIR)/,pkgconfig/bld.pc libbld.a \
		libbld.so libbld.so.$(SOVERSION) libbld.so.$(ABI_VERSION)) \
		$(PUBLIC_HEADERS:%=$(DESTDIR)$(PREFIX)/%) \
		$(foreach p,$(MAN_PAGES),$(DESTDIR)$(PREFIX)/share/man/man$(subst .,,$(suffix $(p)))/$(p))
	rmdir $(DESTDIR)$(PREFIX)/include/bld 2>/dev/null || true

dist: ## a source archive of HEAD
	git archive --format=tar.gz --prefix=bld-$(VERSION)/ -o bld-$(VERSION).tar.gz HEAD

clean: ## remove build/
	rm -rf build

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

FORCE:
.PHONY: all check check-unit check-e2e check-cases check-layers check-headers check-install \
	check-abi abi-accept abi-break check-docs check-static asan tsan fuzz-regress fuzz fuzz-run bench demo deps deps-build format \
	format-check install install-files uninstall dist clean help FORCE
.SECONDARY:
.DELETE_ON_ERROR:
