/* SPDX-License-Identifier: BSD-3-Clause */
/* Masked modelling of held-out spectra, from reconstruction.h5 of the run: the spectrum, its hidden runs, and their
 * reconstruction by the network and by linear interpolation. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "report.h"
#include "syzygy/sky.h"

enum { SHOWN = 8, S = SYZ_SPECTRUM_PIXELS };

typedef struct pictures {
  syz_h5 *file;
  int64_t n, object_id[SHOWN], step[SHOWN];
  float redshift[SHOWN], pixel_loss[SHOWN], interpolation_loss[SHOWN];
  float *flux, *ivar, *reconstruction, *interpolation; /* [S] of one spectrum */
  unsigned char *hidden;
} pictures;

/* Checks the shape of every dataset that is drawn, because the file may come from anywhere. */
static syz_status check_shapes(pictures *r, const char *path)
{
  syz_status st = SYZ_OK;
  static const char *const one[] = {"object_id", "step", "redshift", "pixel_loss", "interpolation_loss"};
  static const char *const row[] = {"flux", "ivar", "mask", "reconstruction", "interpolation"};
  int ndim;
  int64_t shape[8], n;
  char *format = NULL;
  SYZ_TRY(syz_h5_read_text(r->file, "", "syzygy_format", &format));
  SYZ_REQUIRE(format && strcmp(format, "reconstruction") == 0, SYZ_ERR_DATA, "it is a file of %s, not a reconstruction",
              format ? format : "something else");
  SYZ_TRY(syz_h5_shape(r->file, "object_id", &ndim, shape));
  n = shape[0];
  for (size_t i = 0; i < sizeof one / sizeof *one; i++) {
    SYZ_TRY(syz_h5_shape(r->file, one[i], &ndim, shape));
    SYZ_REQUIRE(ndim == 1 && shape[0] == n, SYZ_ERR_DATA, "%s: %s has %d axes and %lld rows, wanted 1 and %lld", path,
                one[i], ndim, (long long)shape[0], (long long)n);
  }
  for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
    SYZ_TRY(syz_h5_shape(r->file, row[i], &ndim, shape));
    SYZ_REQUIRE(ndim == 2 && shape[0] == n && shape[1] == S, SYZ_ERR_DATA, "%s: %s is not of shape (%lld, %d)", path,
                row[i], (long long)n, (int)S);
  }
  r->n = n < SHOWN ? n : SHOWN;
cleanup:
  syz_free(&format);
  return st;
}

static syz_status open_pictures(pictures *r, const char *path)
{
  syz_status st = SYZ_OK;
  SYZ_TRY(syz_h5_open(NULL, path, &r->file));
  SYZ_TRY(check_shapes(r, path));
  SYZ_TRY(syz_h5_read(r->file, "object_id", SYZ_H5_I64, 0, r->n, r->object_id));
  SYZ_TRY(syz_h5_read(r->file, "step", SYZ_H5_I64, 0, r->n, r->step));
  SYZ_TRY(syz_h5_read(r->file, "redshift", SYZ_H5_F32, 0, r->n, r->redshift));
  SYZ_TRY(syz_h5_read(r->file, "pixel_loss", SYZ_H5_F32, 0, r->n, r->pixel_loss));
  SYZ_TRY(syz_h5_read(r->file, "interpolation_loss", SYZ_H5_F32, 0, r->n, r->interpolation_loss));
  SYZ_ALLOC(r->flux, "spectrum", S);
  SYZ_ALLOC(r->ivar, "spectrum", S);
  SYZ_ALLOC(r->reconstruction, "spectrum", S);
  SYZ_ALLOC(r->interpolation, "spectrum", S);
  SYZ_ALLOC(r->hidden, "spectrum", S);
cleanup:
  return st;
}

static syz_status put_picture(syz_page *p, pictures *r, int64_t i)
{
  syz_status st = SYZ_OK;
  char alt[160], one[32], other[32];
  bool has_ivar = false;
  SYZ_TRY(syz_h5_read(r->file, "flux", SYZ_H5_F32, i, 1, r->flux));
  SYZ_TRY(syz_h5_read(r->file, "ivar", SYZ_H5_F32, i, 1, r->ivar));
  SYZ_TRY(syz_h5_read(r->file, "mask", SYZ_H5_U8, i, 1, r->hidden));
  SYZ_TRY(syz_h5_read(r->file, "reconstruction", SYZ_H5_F32, i, 1, r->reconstruction));
  SYZ_TRY(syz_h5_read(r->file, "interpolation", SYZ_H5_F32, i, 1, r->interpolation));
  for (int64_t k = 0; k < S; k++) has_ivar = has_ivar || r->ivar[k] > 0;
  const syz_hidden_spectrum picture = {r->flux,           has_ivar ? r->ivar : NULL, r->hidden,
                                       r->reconstruction, r->interpolation,          (double)r->redshift[i]};
  snprintf(alt, sizeof alt, "Spectrum of object %lld with hidden runs, their reconstruction and their interpolation",
           (long long)r->object_id[i]);
  syz_page_printf(p, "<figure class=\"card\"><figcaption><span class=\"id\">%lld</span>", (long long)r->object_id[i]);
  if (isfinite(r->redshift[i])) syz_page_printf(p, " \xc2\xb7 redshift %.4f", (double)r->redshift[i]);
  syz_page_printf(p, " \xc2\xb7 squared error of the hidden pixels %s, by interpolation %s</figcaption>\n",
                  syz_page_number((double)r->pixel_loss[i], one),
                  syz_page_number((double)r->interpolation_loss[i], other));
  syz_page_hidden_spectrum(p, &picture, alt);
  syz_page_put(p, "</figure>\n");
cleanup:
  return st;
}

static void put_legend(syz_page *p)
{
  static const struct {
    const char *classes, *name;
  } curve[] = {{"k0", "the spectrum"}, {"k1", "reconstruction by the network"}, {"k2 dashed", "linear interpolation"}};
  syz_page_put(p, "<div class=\"legend\">");
  for (size_t i = 0; i < sizeof curve / sizeof *curve; i++)
    syz_page_printf(
        p,
        "<span><svg viewBox=\"0 0 22 10\" aria-hidden=\"true\"><path class=\"curve %s\" d=\"M1 5H21\"/></svg>%s</span>",
        curve[i].classes, curve[i].name);
  syz_page_put(p, "<span><svg viewBox=\"0 0 22 10\" aria-hidden=\"true\"><rect style=\"fill:var(--line)\" width=\"22\" "
                  "height=\"10\"/></svg>hidden from the network</span></div>\n");
}

static bool find_file(const syz_report_job *j, char path[PATH_MAX])
{
  const char *folder = j->sources->training;
  return *folder && snprintf(path, PATH_MAX, "%s/reconstruction.h5", folder) < PATH_MAX && access(path, F_OK) == 0;
}

static bool has_reconstruction(const syz_report_job *j)
{
  char path[PATH_MAX];
  return find_file(j, path);
}

static syz_status write_reconstruction(syz_page *p, const syz_report_job *j)
{
  syz_status st = SYZ_OK;
  char path[PATH_MAX], lead[512];
  pictures r = {.file = NULL};
  if (!find_file(j, path)) return SYZ_OK;
  st = open_pictures(&r, path);
  snprintf(lead, sizeof lead,
           "Held-out spectra after step %lld: shaded runs were hidden from the network, which reconstructs them. "
           "Errors are in units of each spectrum's own deviation and include the noise of the pixels; curves are means "
           "over 12 pixels.",
           r.n > 0 ? (long long)r.step[0] : 0LL);
  syz_page_lead(p, lead);
  if (st != SYZ_OK) {
    syz_page_missing(p, "%s cannot be shown: %s", path, syz_error_text());
    st = st == SYZ_ERR_MEMORY ? st : SYZ_OK;
    goto cleanup;
  }
  put_legend(p);
  for (int64_t i = 0; i < r.n && st == SYZ_OK; i++) {
    st = put_picture(p, &r, i);
    if (st == SYZ_OK || st == SYZ_ERR_MEMORY) continue;
    syz_page_missing(p, "%s cannot be shown: %s", path, syz_error_text());
    st = SYZ_OK;
  }
cleanup:
  if (r.file) syz_h5_close(&r.file);
  syz_free(&r.flux);
  syz_free(&r.ivar);
  syz_free(&r.reconstruction);
  syz_free(&r.interpolation);
  syz_free(&r.hidden);
  return st;
}

const syz_report_section syz_section_reconstruction = {.anchor = "reconstruction",
                                                       .link = "Reconstruction",
                                                       .title = "Reconstruction of hidden spectra",
                                                       .has = has_reconstruction,
                                                       .write = write_reconstruction};
