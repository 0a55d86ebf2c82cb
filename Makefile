# vfiod: build, install, test. `make help` lists the targets.

PREFIX      ?= /usr
DESTDIR     ?=
sbindir     ?= $(PREFIX)/sbin
libdir      ?= $(PREFIX)/lib
datadir     ?= $(PREFIX)/share
sysconfdir  ?= /etc
unitdir     ?= $(libdir)/systemd/system
catalogdir  ?= $(libdir)/systemd/catalog
mandir      ?= $(datadir)/man
docdir      ?= $(datadir)/doc/vfiod
# Where names.rs says: no prefix moves it.
vendordir   := /usr/lib/vfiod/conf.d
CARGO       ?= cargo
INSTALL     ?= install

MSRV    := $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
TARGET  := $(or $(CARGO_TARGET_DIR),target)
BINARY  := $(TARGET)/release/vfiod
SOURCES := Cargo.toml Cargo.lock $(shell find src -name '*.rs')

export CARGO

.PHONY: all build install uninstall test check fmt lint demo lab bench fuzz mutations deny deps rust clean help
.DEFAULT_GOAL := all

all: build

build: $(BINARY) ## build the release binary (the default)

# By the files' times, so that `sudo make install` after `make` finds nothing to build.
$(BINARY): $(SOURCES)
	@$(MAKE) --no-print-directory rust
	$(CARGO) build --release --locked
	@touch $(BINARY)

rust:
	@tests/rust $(MSRV)

install: $(BINARY) ## install below DESTDIR; enables and starts nothing
	$(INSTALL) -d $(DESTDIR)$(sbindir) $(DESTDIR)$(unitdir) $(DESTDIR)$(catalogdir)
	$(INSTALL) -m 0755 $(BINARY) $(DESTDIR)$(sbindir)/vfiod
	sed 's|/usr/sbin/vfiod|$(sbindir)/vfiod|' systemd/vfiod.service >$(DESTDIR)$(unitdir)/vfiod.service
	chmod 0644 $(DESTDIR)$(unitdir)/vfiod.service
	$(INSTALL) -m 0644 systemd/vfiod.catalog $(DESTDIR)$(catalogdir)/vfiod.catalog
	$(INSTALL) -d $(DESTDIR)$(sysconfdir)/vfiod/conf.d $(DESTDIR)$(vendordir)
	@if [ -n "$(DESTDIR)" ] || [ ! -e $(sysconfdir)/vfiod/vfiod.toml ]; then set -x; \
	  $(INSTALL) -m 0644 config/vfiod.toml $(DESTDIR)$(sysconfdir)/vfiod/vfiod.toml; \
	else echo "$(sysconfdir)/vfiod/vfiod.toml is there and stays as it is"; fi
	$(INSTALL) -d $(DESTDIR)$(docdir)/examples $(DESTDIR)$(mandir)/man8 $(DESTDIR)$(mandir)/man5
	$(INSTALL) -m 0644 config/vfiod.toml $(wildcard config/examples/*.toml) $(DESTDIR)$(docdir)/examples/
	$(INSTALL) -m 0644 README.md CHANGELOG.md LICENSE LICENSE-MIT LICENSE-APACHE $(DESTDIR)$(docdir)/
	$(INSTALL) -m 0644 packaging/man/vfiod.8 $(DESTDIR)$(mandir)/man8/vfiod.8
	$(INSTALL) -m 0644 packaging/man/vfiod.toml.5 $(DESTDIR)$(mandir)/man5/vfiod.toml.5
	@if [ -z "$(DESTDIR)" ]; then set -x; journalctl --update-catalog || true; \
	  if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi; fi
	@if [ -z "$(DESTDIR)" ]; then echo "Installed. To keep devices ready from now on: systemctl enable --now vfiod"; fi

# The configuration, the state and every device stay as they are.
uninstall: ## remove what install has installed, but not the configuration
	@if [ -z "$(DESTDIR)" ] && [ -d /run/systemd/system ]; then set -x; systemctl disable --now vfiod.service || true; fi
	rm -f $(DESTDIR)$(sbindir)/vfiod $(DESTDIR)$(unitdir)/vfiod.service $(DESTDIR)$(catalogdir)/vfiod.catalog
	rm -f $(DESTDIR)$(mandir)/man8/vfiod.8 $(DESTDIR)$(mandir)/man5/vfiod.toml.5
	rm -rf $(DESTDIR)$(docdir)
	-rmdir $(DESTDIR)$(vendordir) $(dir $(DESTDIR)$(vendordir)) 2>/dev/null
	@if [ -z "$(DESTDIR)" ]; then set -x; journalctl --update-catalog || true; \
	  if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi; fi

test: rust deps ## everything: lint, tests, packaging, mutations, the lab's scenarios; ends with a summary
	@tests/all

check: rust fmt lint ## the quick part of it: formatting, lint, cargo test
	$(CARGO) test --locked

fmt:
	$(CARGO) fmt --check

# The architecture's line (clippy.toml) is for the program; tests may read files and unwrap.
lint:
	$(CARGO) clippy --locked --lib --bins -- -D warnings
	$(CARGO) clippy --locked --all-targets -- -D warnings \
	  -A clippy::disallowed_methods -A clippy::disallowed_types -A clippy::unwrap_used -A clippy::expect_used

demo: rust deps ## a machine, a module that somebody unloads, and vfiod, in under three minutes once built
	@tests/lab/demo

lab: rust deps ## the lab's scenarios alone, on every kernel
	@tests/lab/all

mutations: rust ## break each guard in turn, and see that a test notices
	@tests/mutations/run

bench: rust ## how observing and deciding grow with the number of devices
	$(CARGO) bench --locked

# Needs a nightly compiler. The corpora found so far run as plain tests in `make check`.
fuzz: rust ## fuzz the parsers, FUZZ_SECONDS each (60)
	@tests/fuzz $(or $(FUZZ_SECONDS),60)

# Not part of `test`: it asks the network for the advisories of today, so its answer changes while
# the code does not. It compiles cargo-deny, some minutes long, if it is not there.
deny: rust ## licences, known vulnerabilities and sources of the crates (cargo-deny)
	@$(CARGO) deny --version >/dev/null 2>&1 || $(CARGO) install --locked cargo-deny
	$(CARGO) deny --locked check

deps: ## the packages that build and tests need; installed where missing, if run as root on Debian
	@tests/deps

clean: ## remove what was built, the lab's images too
	$(CARGO) clean
	@if [ -x tests/lab/clean ]; then tests/lab/clean; fi

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 14
