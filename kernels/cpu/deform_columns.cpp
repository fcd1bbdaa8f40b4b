// Samples of a modulated deformable convolution (DCNv2) as columns, and their gradients; the matrix products are torch's.
//
// Maps and columns lie with the channels of a location side by side, so that a sample's place and weights are computed once
// for all channels of its group. Backward, a thread owns the channels of one group of one image: no atomic additions, the same
// bits for any number of threads.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <cmath>

#include "strided_map.h"
#include "vector.h"

namespace feature_pyramids {
namespace {

using torch::stable::Tensor;

constexpr int64_t kCorners = 4;

struct Geometry {
  int64_t images, groups, channels_per_group, height, width, kernel;

  int64_t taps() const { return kernel * kernel; }
  int64_t locations() const { return height * width; }
  int64_t channels() const { return groups * channels_per_group; }
};

// The four cells around a place; cells outside of the map count as zeros.
template <class T>
struct Sample {
  int64_t cell[kCorners];
  T weight[kCorners], of_row[kCorners], of_column[kCorners];
  bool is_inside[kCorners];

  // As mmcv: a place one cell or more outside of the map is zero and has no gradient.
  bool locate(T row, T column, const Geometry& geometry) {
    const T height = static_cast<T>(geometry.height), width = static_cast<T>(geometry.width);
    if (!(row > -1 && column > -1 && row < height && column < width)) return false;
    const T top = std::floor(row), left = std::floor(column);
    const T down = row - top, right = column - left;
    const T rows[2] = {1 - down, down}, columns[2] = {1 - right, right};
    for (int64_t corner = 0; corner < kCorners; ++corner) {
      const int64_t lower = corner / 2, righter = corner % 2;
      const int64_t y = static_cast<int64_t>(top) + lower, x = static_cast<int64_t>(left) + righter;
      is_inside[corner] = y >= 0 && x >= 0 && y < geometry.height && x < geometry.width;
      cell[corner] = y * geometry.width + x;
      weight[corner] = rows[lower] * columns[righter];
      of_row[corner] = lower ? columns[righter] : -columns[righter];
      of_column[corner] = righter ? rows[lower] : -rows[lower];
    }
    return true;
  }
};

template <class T>
struct Maps {
  const T *features, *offsets, *modulation;
};

// What the taps of one group of one image read: offsets and weights, each a map of its own.
template <class T>
struct Taps {
  const T *offsets, *modulation;
  const Geometry& geometry;

  Taps(const Maps<T>& maps, const Geometry& sizes, int64_t image, int64_t group)
      : offsets(maps.offsets + (image * sizes.groups + group) * 2 * sizes.taps() * sizes.locations()),
        modulation(maps.modulation + (image * sizes.groups + group) * sizes.taps() * sizes.locations()),
        geometry(sizes) {}

  bool locate(int64_t tap, int64_t location, Sample<T>& sample) const {
    const int64_t reach = geometry.kernel / 2, locations = geometry.locations();
    const T row = static_cast<T>(location / geometry.width + tap / geometry.kernel - reach);
    const T column = static_cast<T>(location % geometry.width + tap % geometry.kernel - reach);
    const T* moved = offsets + 2 * tap * locations + location;
    return sample.locate(row + moved[0], column + moved[locations], geometry);
  }
  T weight(int64_t tap, int64_t location) const { return modulation[tap * geometry.locations() + location]; }
};

template <class T>
void write_columns(const Maps<T>& maps, T* columns, const Geometry& geometry) {
  const int64_t channels = geometry.channels(), count = geometry.channels_per_group;
  torch::stable::parallel_for(0, geometry.images * geometry.groups, 1, [&](int64_t begin, int64_t end) {
    Sample<T> sample;
    for (int64_t number = begin; number < end; ++number) {
      const int64_t image = number / geometry.groups, group = number % geometry.groups;
      const Taps<T> taps(maps, geometry, image, group);
      const T* map = maps.features + image * geometry.locations() * channels + group * count;
      for (int64_t location = 0; location < geometry.locations(); ++location) {
        T* target = columns + (image * geometry.locations() + location) * geometry.taps() * channels + group * count;
        for (int64_t tap = 0; tap < geometry.taps(); ++tap, target += channels) {
          for (int64_t c = 0; c < count; ++c) target[c] = 0;
          if (!taps.locate(tap, location, sample)) continue;
          const T modulation = taps.weight(tap, location);
          for (int64_t corner = 0; corner < kCorners; ++corner) {
            if (!sample.is_inside[corner]) continue;
            const T share = modulation * sample.weight[corner];
            const T* source = map + sample.cell[corner] * channels;
            for (int64_t c = 0; c < count; ++c) target[c] += share * source[c];
          }
        }
      }
    }
  });
}

template <class T>
struct Gradients {
  T *features, *offsets, *modulation;
};

template <class T>
void spread_columns(const T* columns, const Maps<T>& maps, const Gradients<T>& gradients, const Geometry& geometry) {
  const int64_t channels = geometry.channels(), count = geometry.channels_per_group, locations = geometry.locations();
  torch::stable::parallel_for(0, geometry.images * geometry.groups, 1, [&](int64_t begin, int64_t end) {
    Sample<T> sample;
    for (int64_t number = begin; number < end; ++number) {
      const int64_t image = number / geometry.groups, group = number % geometry.groups;
      const Taps<T> taps(maps, geometry, image, group);
      const int64_t map = image * locations * channels + group * count;
      T* of_offsets = gradients.offsets + number * 2 * geometry.taps() * locations;
      T* of_modulation = gradients.modulation + number * geometry.taps() * locations;
      for (int64_t location = 0; location < locations; ++location) {
        const T* column = columns + (image * locations + location) * geometry.taps() * channels + group * count;
        for (int64_t tap = 0; tap < geometry.taps(); ++tap, column += channels) {
          T row = 0, across = 0, value = 0;
          const bool reaches = taps.locate(tap, location, sample);
          const T modulation = taps.weight(tap, location);
          for (int64_t corner = 0; reaches && corner < kCorners; ++corner) {
            if (!sample.is_inside[corner]) continue;
            const T* source = maps.features + map + sample.cell[corner] * channels;
            T* target = gradients.features + map + sample.cell[corner] * channels;
            const T share = modulation * sample.weight[corner];
            T agreement = 0;
            for (int64_t c = 0; c < count; ++c) {
              target[c] += share * column[c];
              agreement += source[c] * column[c];
            }
            value += sample.weight[corner] * agreement;
            row += sample.of_row[corner] * agreement;
            across += sample.of_column[corner] * agreement;
          }
          of_modulation[tap * locations + location] = value;
          of_offsets[2 * tap * locations + location] = modulation * row;
          of_offsets[(2 * tap + 1) * locations + location] = modulation * across;
        }
      }
    }
  });
}

void check(const Tensor& tensor, const Tensor& features, int64_t elements) {
  STD_TORCH_CHECK(tensor.scalar_type() == features.scalar_type(), "deform_columns: tensors of different dtypes");
  STD_TORCH_CHECK(tensor.is_contiguous() && tensor.numel() == elements, "deform_columns: a tensor of another size or layout");
}

// Of features (N, H, W, C) and modulation (N, groups * K * K, H, W).
Geometry geometry_of(const Tensor& features, const Tensor& modulation, int64_t groups) {
  const bool is_known = features.scalar_type() == ScalarType::Float || features.scalar_type() == ScalarType::Double;
  STD_TORCH_CHECK(is_known, "deform_columns: allowed are float32 and float64");
  const int64_t taps = modulation.size(1) / groups;
  const auto kernel = static_cast<int64_t>(std::lround(std::sqrt(static_cast<double>(taps))));
  return {features.size(0), groups, features.size(3) / groups, features.size(1), features.size(2), kernel};
}

void check_all(
    const Geometry& geometry, const Tensor& features, const Tensor& offsets, const Tensor& modulation, const Tensor& columns) {
  const int64_t samples = geometry.images * geometry.taps() * geometry.locations();
  check(features, features, geometry.images * geometry.locations() * geometry.channels());
  check(offsets, features, 2 * geometry.groups * samples);
  check(modulation, features, geometry.groups * samples);
  check(columns, features, geometry.channels() * samples);
}

template <class T>
T* data_of(const Tensor& tensor) {
  return static_cast<T*>(tensor.data_ptr());
}

template <class T>
Maps<T> maps_of(const Tensor& features, const Tensor& offsets, const Tensor& modulation) {
  return {data_of<T>(features), data_of<T>(offsets), data_of<T>(modulation)};
}

void deform_columns(Tensor features, Tensor offsets, Tensor modulation, Tensor columns, int64_t groups) {
  const Geometry geometry = geometry_of(features, modulation, groups);
  check_all(geometry, features, offsets, modulation, columns);
  if (features.scalar_type() == ScalarType::Double)
    return write_columns(maps_of<double>(features, offsets, modulation), data_of<double>(columns), geometry);
  write_columns(maps_of<float>(features, offsets, modulation), data_of<float>(columns), geometry);
}

template <class T>
void spread(
    const Tensor& columns, const Maps<T>& maps, const Tensor& of_features, const Tensor& of_offsets,
    const Tensor& of_modulation, const Geometry& geometry) {
  const Gradients<T> gradients{data_of<T>(of_features), data_of<T>(of_offsets), data_of<T>(of_modulation)};
  spread_columns(static_cast<const T*>(data_of<T>(columns)), maps, gradients, geometry);
}

// The gradient of the features is added to, those of offsets and modulation are written.
void deform_columns_gradient(
    Tensor columns, Tensor features, Tensor offsets, Tensor modulation, Tensor of_features, Tensor of_offsets,
    Tensor of_modulation, int64_t groups) {
  const Geometry geometry = geometry_of(features, modulation, groups);
  check_all(geometry, features, offsets, modulation, columns);
  check_all(geometry, of_features, of_offsets, of_modulation, columns);
  if (features.scalar_type() == ScalarType::Double)
    return spread(
        columns, maps_of<double>(features, offsets, modulation), of_features, of_offsets, of_modulation, geometry);
  spread(columns, maps_of<float>(features, offsets, modulation), of_features, of_offsets, of_modulation, geometry);
}

}  // namespace
}  // namespace feature_pyramids

STABLE_TORCH_LIBRARY_FRAGMENT(feature_pyramids_cpu, library) {
  library.def("deform_columns(Tensor features, Tensor offsets, Tensor modulation, Tensor(a!) columns, int groups) -> ()");
  library.def(
      "deform_columns_gradient(Tensor columns, Tensor features, Tensor offsets, Tensor modulation, Tensor(a!) of_features, "
      "Tensor(b!) of_offsets, Tensor(c!) of_modulation, int groups) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(feature_pyramids_cpu, CPU, library) {
  library.impl("deform_columns", TORCH_BOX(&feature_pyramids::deform_columns));
  library.impl("deform_columns_gradient", TORCH_BOX(&feature_pyramids::deform_columns_gradient));
}
