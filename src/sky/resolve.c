/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Which copy of a source the Legacy Surveys keep where their northern (BASS, MzLS) and southern (DECam) imaging
 * overlap.
 *
 * Source: desihub/desitarget, io.py (releasedict, desitarget_resolve_dec) and targets.py (resolve); README.md "Legacy
 * Surveys images" for DR9 and DR10.
 */
#include "sky.h"

#include <math.h>

static const double DEGREE = 0.017453292519943295769;

static char photsys_of_release(int64_t release)
{
  switch (release) {
  case 4000:
  case 6000:
  case 8001:
  case 9011:
    return 'N';
  case 3000:
  case 5000:
  case 7000:
  case 7999:
  case 8000:
  case 9010:
  case 9012:
    return 'S';
  default:
    return release >= 10000 && release < 10100 ? 'S' : 0; /* DR10 has the south alone */
  }
}

char syz_photsys(int64_t targetid, int32_t *brick)
{
  const int64_t objid_bits = 22, brick_bits = 20, release_bits = 16;
  *brick = 0;
  if (targetid < 0 || targetid >> (objid_bits + brick_bits + release_bits)) return 0; /* sky, simulated, Gaia */
  int64_t number = targetid >> objid_bits & ((1 << brick_bits) - 1);
  char system = photsys_of_release(targetid >> (objid_bits + brick_bits));
  if (!system || number < 1 || number > SYZ_BRICKS) return 0;
  *brick = (int32_t)number;
  return system;
}

double syz_galactic_latitude(double ra, double dec)
{
  const double pole_ra = 192.85948,
               pole_dec = 27.12825; /* J2000: The Hipparcos and Tycho Catalogues (ESA 1997), volume 1, section 1.5.3 */
  double s = sin(pole_dec * DEGREE) * sin(dec * DEGREE) +
             cos(pole_dec * DEGREE) * cos(dec * DEGREE) * cos((ra - pole_ra) * DEGREE);
  return asin(fmax(-1, fmin(1, s))) / DEGREE;
}

char syz_photsys_kept(double ra, double dec)
{
  const double border_deg = 32.375;
  return dec >= border_deg && syz_galactic_latitude(ra, dec) > 0 ? 'N' : 'S';
}
