/* SPDX-License-Identifier: BSD-3-Clause */
/** The map of PIT values that recalibration by PIT makes: straight between 33 knots. */
#include <math.h>

#include "internal.h"

/* 0, Phi((k - 16) / 4.5), .., 1: equal steps would leave all of a wrong tail in one interval. */
static const double pit_knot[SYZ_FLOW_KNOTS + 1] = {0.0,
                                                    0.00042906033319683735,
                                                    0.0009319239675149737,
                                                    0.001933028269981883,
                                                    0.00383038056758974,
                                                    0.007253771124867826,
                                                    0.013134145691021126,
                                                    0.02275013194817922,
                                                    0.03772017981340024,
                                                    0.05990690710277188,
                                                    0.0912112197258679,
                                                    0.13326026290250542,
                                                    0.18703139874544128,
                                                    0.2524925375469229,
                                                    0.32836064328188524,
                                                    0.4120704478709426,
                                                    0.5,
                                                    0.5879295521290574,
                                                    0.6716393567181148,
                                                    0.7475074624530771,
                                                    0.8129686012545587,
                                                    0.8667397370974945,
                                                    0.9087887802741321,
                                                    0.9400930928972282,
                                                    0.9622798201865997,
                                                    0.9772498680518208,
                                                    0.9868658543089789,
                                                    0.9927462288751322,
                                                    0.9961696194324102,
                                                    0.9980669717300181,
                                                    0.999068076032485,
                                                    0.9995709396668032,
                                                    1.0};

int flow_pit_interval(double u)
{
  int low = 0, high = SYZ_FLOW_KNOTS;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (u >= pit_knot[middle])
      low = middle;
    else
      high = middle;
  }
  return low;
}

double flow_pit_width(int k) { return pit_knot[k + 1] - pit_knot[k]; }

double flow_pit_map(const double *map, double u, double *slope)
{
  if (isnan(u)) {
    *slope = NAN;
    return NAN;
  }
  const int k = flow_pit_interval(u);
  *slope = (map[k + 1] - map[k]) / flow_pit_width(k);
  return map[k] + (u - pit_knot[k]) * *slope;
}

double flow_pit_undo(const double *map, double u)
{
  int k = 0;
  while (k < SYZ_FLOW_KNOTS - 1 && u > map[k + 1]) k++;
  return pit_knot[k] + (u - map[k]) / (map[k + 1] - map[k]) * flow_pit_width(k);
}
