/* SPDX-License-Identifier: BSD-3-Clause */
/** The profile of layers: calls, seconds, operations and bytes of each kind and size, while profiling is on. Of nested
 * layers only the outermost counts. */
#include <stdio.h>
#include <string.h>

#include "syzygy/nn.h"

static struct {
  bool is_on;
  int depth, n;
  syz_profile_row row[SYZ_PROFILE_ROWS];
  struct {
    const char *what;
    int64_t a, b;
  } key[SYZ_PROFILE_ROWS];
} profile;

void syz_profile_start(void)
{
  memset(&profile, 0, sizeof profile);
  profile.is_on = true;
}

void syz_profile_stop(void) { profile.is_on = false; }

int syz_profile_rows(const syz_profile_row **row)
{
  *row = profile.row;
  return profile.n;
}

double syz_profile_begin(void)
{
  if (!profile.is_on) return 0;
  return ++profile.depth == 1 ? syz_clock_s() : -1;
}

void syz_profile_end(double start, syz_profile_kind kind, const char *what, int64_t a, int64_t b, double flops,
                     double bytes)
{
  if (start == 0 || !profile.is_on) return;
  profile.depth--;
  if (start < 0) return;
  const double seconds = syz_clock_s() - start;
  int i = 0;
  while (i < profile.n && !(profile.key[i].what == what && profile.key[i].a == a && profile.key[i].b == b)) i++;
  if (i == SYZ_PROFILE_ROWS) return;
  syz_profile_row *r = &profile.row[i];
  if (i == profile.n) {
    profile.n++;
    profile.key[i].what = what, profile.key[i].a = a, profile.key[i].b = b;
    r->kind = kind;
    snprintf(r->name, sizeof r->name, b > 0 ? "%s %lld x %lld" : "%s %lld", what, (long long)a, (long long)b);
  }
  r->calls++;
  r->seconds += seconds;
  r->flops += flops;
  r->bytes += bytes;
}
