/* SPDX-License-Identifier: BSD-3-Clause */
/** Common to the readers of spectra: numbers and texts of tables by column name, and the unit of fluxes. */
#include "spectra.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

double spectra_number(syz_fits *f, int hdu, int64_t row, const char *name)
{
  double v = (double)NAN;
  int column = syz_fits_field_find(f, hdu, name);
  if (column < 0 || !strchr("LBIJKED", syz_fits_field_get(f, hdu, column)->type) ||
      syz_fits_field_get(f, hdu, column)->repeat < 1)
    return v;
  if (syz_fits_column_f64(f, hdu, column, 0, row, 1, &v) != SYZ_OK) return (double)NAN;
  return v;
}

void spectra_text(syz_fits *f, int hdu, int64_t row, const char *name, char *text, size_t room)
{
  int column = syz_fits_field_find(f, hdu, name);
  text[0] = '\0';
  if (column >= 0 && syz_fits_field_get(f, hdu, column)->type == 'A' && syz_fits_field_get(f, hdu, column)->repeat > 0)
    if (syz_fits_column_text(f, hdu, column, row, text, room) != SYZ_OK) text[0] = '\0';
}

bool spectra_whole(syz_fits *f, int hdu, int64_t row, const char *name, int64_t *value)
{
  int column = syz_fits_field_find(f, hdu, name);
  return column >= 0 && strchr("BIJK", syz_fits_field_get(f, hdu, column)->type) &&
         syz_fits_field_get(f, hdu, column)->repeat == 1 &&
         syz_fits_column_i64(f, hdu, column, 0, row, 1, value) == SYZ_OK;
}

/* The number at the start of a unit, also written as a power of ten: 1E-17, 1.0e-17, 10**-17, 10^(-17), 10-17. NaN
 * without one. */
static double leading_number(const char *unit, const char **rest)
{
  char *end;
  while (*unit == ' ') unit++;
  double value = strtod(unit, &end);
  *rest = end;
  if (end == unit) return (double)NAN;
  if (value != 10) return value;
  const char *p = end;
  if (!strncmp(p, "**", 2))
    p += 2;
  else if (*p == '^')
    p++;
  bool is_enclosed = *p == '(';
  p += is_enclosed;
  long power = strtol(p, &end, 10);
  if (end == p || (is_enclosed && *end != ')')) return value;
  *rest = end + is_enclosed;
  return pow(10, (double)power);
}

syz_status spectra_check_unit(const syz_fits *f, int hdu)
{
  syz_status st = SYZ_OK;
  char unit[72];
  const char *rest;
  if (!syz_fits_key_text(f, hdu, "BUNIT", unit, sizeof unit) || !unit[0]) return SYZ_OK;
  double factor = leading_number(unit, &rest);
  /* Any notation of erg/s/cm2/Angstrom is accepted, but no flux per frequency. */
  bool is_known = fabs(factor / 1e-17 - 1) < 1e-6 && !strstr(rest, "Hz") && !strstr(rest, "hz") && !strstr(rest, "Jy");
  SYZ_REQUIRE(is_known, SYZ_ERR_DATA, "%s: BUNIT '%s', fluxes in 1e-17 erg/s/cm2/Angstrom are needed", syz_fits_path(f),
              unit);
cleanup:
  return st;
}

bool spectra_ends_with(const char *text, const char *end)
{
  size_t n = strlen(text), m = strlen(end);
  return n > m && !strcmp(text + n - m, end);
}
