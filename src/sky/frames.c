/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Celestial frames of image headers. FK4 at B1950 is converted for precession, the E-terms of aberration and the slow
 * rotation of FK4 relative to FK5 (together 0.7 degrees), by ERFA's functions for objects without proper motion in an
 * inertial frame, observed at B1950 (Standish 1982, A&A 115, 20; Aoki et al. 1983, A&A 128, 263). astropy's FK4 and
 * this agree within 1.5 mas over the whole sky.
 *
 * FK5 at J2000 is within 32 mas of ICRS, an eighth of a Legacy Surveys pixel, and is read as ICRS. Headers with FK5, or
 * with EQUINOX = 2000 and no RADESYS (the Legacy Surveys' own), were mostly calibrated on catalogues in ICRS.
 */
#include "frames.h"

#include <erfa.h>
#include <math.h>
#include <string.h>

static const double DEGREE = 0.017453292519943295769;
static const double EPOCH_FK4 = 1950, J2000_JD = 2451545;

/* Defaults of FITS standard 4.0, section 8.3: without RADESYS an equinox before 1984 means FK4, a later one FK5, and
 * none ICRS. */
syz_status sky_frame_find(const char *radesys, double equinox, const char *what, sky_frame *frame)
{
  syz_status st = SYZ_OK;
  bool has_equinox = isfinite(equinox), is_2000 = !has_equinox || equinox == 2000;
  bool is_fk4 = radesys[0] ? !strcmp(radesys, "FK4") : has_equinox && equinox < 1984;
  *frame = FRAME_ICRS;
  SYZ_REQUIRE(strcmp(radesys, "FK4-NO-E") != 0 && strcmp(radesys, "GAPPT") != 0, SYZ_ERR_DATA,
              "%s: RADESYS '%s' cannot be converted, only ICRS, FK5 and FK4", what, radesys);
  SYZ_REQUIRE(!is_fk4 || !has_equinox || equinox == EPOCH_FK4, SYZ_ERR_DATA,
              "%s: FK4 of equinox B%g cannot be converted, only B1950: rewrite the header in ICRS", what, equinox);
  SYZ_REQUIRE(is_fk4 || is_2000 || !strcmp(radesys, "ICRS"), SYZ_ERR_DATA,
              "%s: equinox J%g cannot be converted, only J2000: rewrite the header in ICRS, or with EQUINOX = 2000 if "
              "that is meant",
              what, equinox);
  if (is_fk4) *frame = FRAME_FK4;
cleanup:
  return st;
}

void sky_frame_to_icrs(sky_frame frame, double *ra, double *dec)
{
  double a, d;
  if (frame == FRAME_ICRS || !isfinite(*ra) || !isfinite(*dec)) return;
  eraFk45z(*ra * DEGREE, *dec * DEGREE, EPOCH_FK4, &a, &d);
  eraFk5hz(a, d, J2000_JD, 0, &a, &d);
  *ra = a / DEGREE;
  *dec = d / DEGREE;
}

void sky_frame_from_icrs(sky_frame frame, double *ra, double *dec)
{
  double a, d, motion_ra, motion_dec;
  if (frame == FRAME_ICRS || !isfinite(*ra) || !isfinite(*dec)) return;
  eraHfk5z(*ra * DEGREE, *dec * DEGREE, J2000_JD, 0, &a, &d, &motion_ra, &motion_dec);
  eraFk54z(a, d, EPOCH_FK4, &a, &d, &motion_ra, &motion_dec);
  *ra = a / DEGREE;
  *dec = d / DEGREE;
}
