/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Cells of the sky, by which positions are distributed over ranks: zones of a quarter of a degree in declination, each
 * cut in right ascension into cells that are about as wide (Gray, Nieto-Santisteban & Szalay 2006, arXiv:cs/0701171). A
 * disc of radius r around (ra, dec) reaches asin(sin r / cos dec) in right ascension, or all around when a pole is
 * within r, so the cells that it may touch are known exactly and none is missed.
 */
#include "syzygy/sky.h"

#include <math.h>

static const double DEGREE = 0.017453292519943295769;
static const double ZONE_DEG = 180.0 / SYZ_ZONES;

static int zone_of(double dec)
{
  double z = floor((dec + 90) / ZONE_DEG);
  return z < 0 ? 0 : z > SYZ_ZONES - 1 ? SYZ_ZONES - 1 : (int)z;
}

static int cells_of_zone(int zone)
{
  double cells = floor(2 * SYZ_ZONES * cos((-90 + (zone + 0.5) * ZONE_DEG) * DEGREE));
  return cells < 1 ? 1 : (int)cells;
}

static int32_t cell_number(int zone, int64_t place) { return (int32_t)(zone * SYZ_CELLS_ACROSS + place); }

int32_t syz_cell_of(double ra, double dec)
{
  int zone = zone_of(dec), cells = cells_of_zone(zone);
  double turn = ra / 360 - floor(ra / 360);
  int64_t place = (int64_t)(turn * cells);
  return cell_number(zone, place < cells ? place : cells - 1);
}

void syz_cells_around(double ra, double dec, double radius_deg, void (*visit)(void *context, int32_t cell),
                      void *context)
{
  const double slack_deg = 1e-9; /* more than rounding */
  double r = radius_deg + slack_deg;
  int first = zone_of(dec - r), last = zone_of(dec + r);
  bool goes_around = fabs(dec) + r >= 90;
  double reach_deg = goes_around ? 180 : asin(fmin(1, sin(r * DEGREE) / cos(dec * DEGREE))) / DEGREE + slack_deg;
  for (int zone = first; zone <= last; zone++) {
    int cells = cells_of_zone(zone);
    double low = floor((ra - reach_deg) / 360 * cells), high = floor((ra + reach_deg) / 360 * cells);
    if (goes_around || high - low + 1 >= cells) {
      low = 0;
      high = cells - 1;
    }
    for (double k = low; k <= high; k++) {
      double place = fmod(k, cells);
      visit(context, cell_number(zone, (int64_t)(place < 0 ? place + cells : place)));
    }
  }
}
