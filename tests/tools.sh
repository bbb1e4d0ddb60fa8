#!/usr/bin/env bash
# A LaTeX and a browser, by which some tests check the tables and the page of a report. Where they cannot be had, says why;
# those tests are then skipped.
set -euo pipefail
missing=()
command -v pdflatex >/dev/null || missing+=(texlive-latex-recommended)
command -v pdftotext >/dev/null || missing+=(poppler-utils)
command -v chromium >/dev/null || missing+=(chromium)
((${#missing[@]})) || exit 0

fail() {
  echo "${missing[*]}: not installed ($1), so that tests with them will be skipped" >&2
  exit 1
}

command -v apt-get >/dev/null || fail "there is no apt-get here"
log=$(mktemp)
export DEBIAN_FRONTEND=noninteractive
{ timeout 120 apt-get -q update && timeout 300 apt-get -q install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 ||
  fail "$(tail -n 1 "$log")"
