# vfiod: build, install, test. `make help` lists the targets.

PREFIX      ?= /usr
DESTDIR     ?=
sbindir     ?= $(PREFIX)/sbin
bindir      ?= $(PREFIX)/bin
libdir      ?= $(PREFIX)/lib
datadir     ?= $(PREFIX)/share
sysconfdir  ?= /etc
unitdir     ?= $(libdir)/systemd/system
catalogdir  ?= $(libdir)/systemd/catalog
mandir      ?= $(datadir)/man
docdir      ?= $(datadir)/doc/vfiod
bashdir     ?= $(datadir)/bash-completion/completions
zshdir      ?= $(datadir)/zsh/site-functions
fishdir     ?= $(datadir)/fish/vendor_completions.d
dbusdir     ?= $(datadir)/dbus-1
polkitdir   ?= $(datadir)/polkit-1/actions
# Where names.rs says: no prefix moves it.
vendordir   := /usr/lib/vfiod/conf.d
CARGO       ?= cargo
INSTALL     ?= install

MSRV    := $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
TARGET  := $(or $(CARGO_TARGET_DIR),target)
BINARY  := $(TARGET)/release/vfiod
# Built with it, beside it.
CTL     := $(dir $(BINARY))vfiodctl
SOURCES := Cargo.toml Cargo.lock $(shell find src -name '*.rs')

export CARGO

.PHONY: all build install uninstall test check fmt lint demo lab bench fuzz mutations deny deps rust clean help
.DEFAULT_GOAL := all

all: build

build: $(BINARY) $(CTL) ## build the release binaries (the default)

# By the files' times, so that `sudo make install` after `make` finds nothing to build. Both are asked for: cargo puts one in its
# place before the other is linked, and may be at it in another process just now (then this waits for it).
$(BINARY) $(CTL) &: $(SOURCES)
	@$(MAKE) --no-print-directory rust
	$(CARGO) build --release --locked
	@touch $(BINARY) $(CTL)

rust:
	@tests/rust $(MSRV)

install: $(BINARY) $(CTL) ## install below DESTDIR; enables and starts nothing
	$(INSTALL) -d $(DESTDIR)$(sbindir) $(DESTDIR)$(bindir) $(DESTDIR)$(unitdir) $(DESTDIR)$(catalogdir)
	$(INSTALL) -m 0755 $(BINARY) $(DESTDIR)$(sbindir)/vfiod
	$(INSTALL) -m 0755 $(CTL) $(DESTDIR)$(bindir)/vfiodctl
	sed 's|/usr/sbin/vfiod|$(sbindir)/vfiod|' systemd/vfiod.service >$(DESTDIR)$(unitdir)/vfiod.service
	sed 's|/usr/bin/vfiodctl|$(bindir)/vfiodctl|' systemd/vfiod-wait-ready.service >$(DESTDIR)$(unitdir)/vfiod-wait-ready.service
	chmod 0644 $(DESTDIR)$(unitdir)/vfiod.service $(DESTDIR)$(unitdir)/vfiod-wait-ready.service
	$(INSTALL) -m 0644 systemd/vfiod.catalog $(DESTDIR)$(catalogdir)/vfiod.catalog
	$(INSTALL) -d $(DESTDIR)$(sysconfdir)/vfiod/conf.d $(DESTDIR)$(vendordir)
	@if [ -n "$(DESTDIR)" ] || [ ! -e $(sysconfdir)/vfiod/vfiod.toml ]; then set -x; \
	  $(INSTALL) -m 0644 config/vfiod.toml $(DESTDIR)$(sysconfdir)/vfiod/vfiod.toml; \
	else echo "$(sysconfdir)/vfiod/vfiod.toml is there and stays as it is"; fi
	$(INSTALL) -d $(DESTDIR)$(docdir)/examples $(addprefix $(DESTDIR)$(mandir)/man,1 5 7 8)
	$(INSTALL) -m 0644 config/vfiod.toml $(wildcard config/examples/*.toml) $(DESTDIR)$(docdir)/examples/
	$(INSTALL) -m 0644 README.md CHANGELOG.md LICENSE LICENSE-MIT LICENSE-APACHE $(DESTDIR)$(docdir)/
	$(INSTALL) -m 0644 packaging/man/vfiod.8 $(DESTDIR)$(mandir)/man8/vfiod.8
	$(INSTALL) -m 0644 packaging/man/vfiod-preflight.7 $(DESTDIR)$(mandir)/man7/vfiod-preflight.7
	$(INSTALL) -m 0644 packaging/man/vfiod.toml.5 $(DESTDIR)$(mandir)/man5/vfiod.toml.5
	$(INSTALL) -m 0644 packaging/man/vfiodctl.1 $(DESTDIR)$(mandir)/man1/vfiodctl.1
	$(INSTALL) -m 0644 packaging/man/vfiod-json.7 $(DESTDIR)$(mandir)/man7/vfiod-json.7
	$(INSTALL) -m 0755 packaging/hooks/libvirt-qemu $(DESTDIR)$(docdir)/examples/libvirt-qemu
	$(INSTALL) -d $(DESTDIR)$(bashdir) $(DESTDIR)$(zshdir) $(DESTDIR)$(fishdir)
	$(INSTALL) -m 0644 packaging/completions/vfiodctl.bash $(DESTDIR)$(bashdir)/vfiodctl
	$(INSTALL) -m 0644 packaging/completions/_vfiodctl $(DESTDIR)$(zshdir)/_vfiodctl
	$(INSTALL) -m 0644 packaging/completions/vfiodctl.fish $(DESTDIR)$(fishdir)/vfiodctl.fish
	$(INSTALL) -m 0644 packaging/man/org.vfiod1.5 $(DESTDIR)$(mandir)/man5/org.vfiod1.5
	$(INSTALL) -d $(DESTDIR)$(dbusdir)/system.d $(DESTDIR)$(dbusdir)/interfaces $(DESTDIR)$(polkitdir)
	$(INSTALL) -m 0644 packaging/dbus/org.vfiod1.conf $(DESTDIR)$(dbusdir)/system.d/org.vfiod1.conf
	$(INSTALL) -m 0644 $(wildcard packaging/dbus/*.xml) $(DESTDIR)$(dbusdir)/interfaces/
	$(INSTALL) -m 0644 packaging/polkit/org.vfiod1.policy $(DESTDIR)$(polkitdir)/org.vfiod1.policy
	@if [ -z "$(DESTDIR)" ]; then set -x; journalctl --update-catalog || true; \
	  if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi; fi
	@if [ -z "$(DESTDIR)" ]; then echo "Installed. To keep devices ready from now on: systemctl enable --now vfiod"; fi

# The configuration, the state and every device stay as they are.
uninstall: ## remove what install has installed, but not the configuration
	@if [ -z "$(DESTDIR)" ] && [ -d /run/systemd/system ]; then set -x; systemctl disable --now vfiod.service vfiod-wait-ready.service || true; fi
	rm -f $(DESTDIR)$(sbindir)/vfiod $(DESTDIR)$(unitdir)/vfiod.service $(DESTDIR)$(catalogdir)/vfiod.catalog
	rm -f $(DESTDIR)$(bindir)/vfiodctl $(DESTDIR)$(unitdir)/vfiod-wait-ready.service
	rm -f $(DESTDIR)$(mandir)/man1/vfiodctl.1 $(DESTDIR)$(mandir)/man7/vfiod-json.7 $(DESTDIR)$(mandir)/man7/vfiod-preflight.7
	rm -f $(DESTDIR)$(bashdir)/vfiodctl $(DESTDIR)$(zshdir)/_vfiodctl $(DESTDIR)$(fishdir)/vfiodctl.fish
	rm -f $(DESTDIR)$(mandir)/man8/vfiod.8 $(DESTDIR)$(mandir)/man5/vfiod.toml.5 $(DESTDIR)$(mandir)/man5/org.vfiod1.5
	rm -f $(DESTDIR)$(dbusdir)/system.d/org.vfiod1.conf $(DESTDIR)$(polkitdir)/org.vfiod1.policy
	rm -f $(addprefix $(DESTDIR)$(dbusdir)/interfaces/,$(notdir $(wildcard packaging/dbus/*.xml)))
	rm -rf $(DESTDIR)$(docdir)
	-rmdir $(DESTDIR)$(vendordir) $(dir $(DESTDIR)$(vendordir)) 2>/dev/null
	@if [ -z "$(DESTDIR)" ]; then set -x; journalctl --update-catalog || true; \
	  if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi; fi

test: rust deps ## everything: lint, tests, packaging, mutations, the lab's scenarios; ends with a summary
	@tests/all

check: rust fmt lint ## the quick part of it: formatting, lint, cargo test
	$(CARGO) test --locked

fmt:
	$(CARGO) fmt --all --check

lint:
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

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
