/* SPDX-License-Identifier: BSD-3-Clause */
/** Checks of a file or a spectrum when it is found: the cuts that need no other file, its pixels, and files that cannot
 * be used. */
#include "ingest.h"

#include <math.h>
#include <string.h>

/* The cuts that need no other file. */
syz_cut ingest_early_cut(const ingest *g, const syz_spectrum_info *info, double primary)
{
  syz_spectra_cuts early = g->cuts;
  early.zwarn_bits = 0;
  early.spectype = "";
  early.needs_redshift = false;
  if (isnan(primary) && g->options.redshifts.n) early.primary = "";
  return syz_spectra_check(info, &early, primary);
}

void ingest_check_pixels(const ingest *g, const float *flux, const float *ivar, ingest_spectrum *o, const char **fault,
                         char reason[160])
{
  *fault = syz_spectrum_fault(flux, ivar, &o->good_fraction, reason);
  if (!*fault && (o->good_fraction < g->cuts.min_coverage || o->good_fraction == 0)) o->cut = SYZ_CUT_PIXELS;
}

/* The readers' errors for an intact file of another kind. A missing column named by ingest.ra is not one of them. */
static bool is_other_kind(const ingest *g, int file)
{
  const char *text = syz_error_text();
  switch (g->file[file].role) {
  case ROLE_IMAGES:
    return strstr(text, "no image in it") || strstr(text, "no image in g, r or z");
  case ROLE_CATALOGUE:
    return strstr(text, "no table in it") || (!g->options.ra[0] && strstr(text, "no table with numeric columns"));
  default:
    return strstr(text, "no spectra in it") != NULL;
  }
}

syz_status ingest_note_file(ingest *g, int file)
{
  if (!g->file[file].is_named && is_other_kind(g, file)) {
    g->count.passed_over++;
    g->count.passed_over_of[g->file[file].role]++;
    return SYZ_OK;
  }
  return ingest_note(g, file, -1, 0, NULL);
}
