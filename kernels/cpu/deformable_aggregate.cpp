// Deformable aggregation, forward and backward.
//
// A "slice" is one group of the channels of one image; each is computed by one thread, pixel after pixel, so that gradients
// need no atomic additions and repeat bit for bit. Its map is packed with the channels last and zeros around it: a column at
// each side, a row above, two below. Where samples lie is computed for a strip of pixels at a time, tap by tap.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <cmath>
#include <type_traits>

#include "strided_map.h"
#include "vector.h"

namespace feature_pyramids {
namespace {

using torch::stable::Tensor;

constexpr int64_t kPixels = 32;
constexpr int64_t kCorners = 4;

struct Slice {
  int64_t channels, pitch, height, width, taps, size;
  double offset_scale;

  int64_t row_length() const { return width + 2; }
  int64_t pixels() const { return (height + 3) * row_length(); }
};

// Copy `planes` x `columns` elements of one row to target[plane * kPixels + column], and back.
template <class T>
void load_planes(const StridedMap& map, int64_t planes, int64_t row, int64_t column, int64_t columns, T* target) {
  with_element_type(map.dtype, [&](auto element) {
    for (int64_t plane = 0; plane < planes; ++plane) {
      const auto* source = reinterpret_cast<const decltype(element)*>(map.at(plane, row, column));
      T* line = target + plane * kPixels;
      for (int64_t x = 0; x < columns; ++x) line[x] = static_cast<T>(source[x * map.column_stride]);
    }
  });
}

template <class T>
void store_planes(const StridedMap& map, int64_t planes, int64_t row, int64_t column, int64_t columns, const T* source) {
  with_element_type(map.dtype, [&](auto element) {
    using Element = decltype(element);
    for (int64_t plane = 0; plane < planes; ++plane) {
      auto* target = reinterpret_cast<Element*>(map.at(plane, row, column));
      const T* line = source + plane * kPixels;
      for (int64_t x = 0; x < columns; ++x) target[x * map.column_stride] = static_cast<Element>(line[x]);
    }
  });
}

// The maps of one slice of offsets or modulation, whose dimensions before the last two are image, group, tap and perhaps axis.
StridedMap planes_of(const Tensor& tensor, int64_t image, int64_t group, int64_t axis) {
  int64_t start = image * tensor.stride(0) + group * tensor.stride(1);
  if (tensor.dim() == 6) start += axis * tensor.stride(3);
  return StridedMap(tensor, 2).moved(start);
}

StridedMap slice_of(const Tensor& tensor, int64_t channels, int64_t image, int64_t group) {
  return StridedMap(tensor, 1).moved(image * tensor.stride(0) + group * channels * tensor.stride(1));
}

// A slice of a map, packed as described above.
template <class T>
Scratch<T> empty_map(const Slice& slice) {
  return Scratch<T>(slice.pixels() * slice.pitch);
}

template <class T>
T* packed_row(const Slice& slice, const Scratch<T>& packed, int64_t row) {
  return packed.data() + ((row + 1) * slice.row_length() + 1) * slice.pitch;
}

template <class T>
void pack(const Slice& slice, const StridedMap& map, const Scratch<T>& packed) {
  for (int64_t y = 0; y < slice.height; ++y)
    load_row(map, slice.channels, y, 0, slice.width, packed_row(slice, packed, y), slice.pitch);
}

// Where the samples of a strip of pixels lie. All arrays are (taps, kPixels) but for `shares`, (taps, kCorners, kPixels).
template <class T>
class Strip {
 public:
  explicit Strip(const Slice& slice)
      : slice_(slice),
        dx_(slice.taps * kPixels),
        dy_(slice.taps * kPixels),
        modulation_(slice.taps * kPixels),
        right_(slice.taps * kPixels),
        bottom_(slice.taps * kPixels),
        inside_(slice.taps * kPixels),
        shares_(slice.taps * kPixels * kCorners),
        corners_(slice.taps * kPixels) {}

  void start(const Tensor& offsets, const Tensor& modulation, int64_t image, int64_t group, int64_t row, int64_t column) {
    const int64_t count = smaller(kPixels, slice_.width - column);
    load_planes(planes_of(offsets, image, group, 0), slice_.taps, row, column, count, dx_.data());
    load_planes(planes_of(offsets, image, group, 1), slice_.taps, row, column, count, dy_.data());
    load_planes(planes_of(modulation, image, group, 0), slice_.taps, row, column, count, modulation_.data());
    for (int64_t tap = 0; tap < slice_.taps; ++tap) locate(tap, row, column);
  }

  // Pixel number, in the packed map, of the upper left corner.
  const int32_t* corners(int64_t tap) const { return corners_.data() + tap * kPixels; }
  // Bilinear weights of the corners, row by row; zero outside.
  const T* shares(int64_t tap) const { return shares_.data() + tap * kCorners * kPixels; }
  const T* modulation(int64_t tap) const { return modulation_.data() + tap * kPixels; }

  // Turn the gradient's products with the corners, (taps, kCorners, kPixels), into gradients of offsets and modulation.
  void differentiate(const T* products, T* by_x, T* by_y, T* by_modulation) const {
    for (int64_t tap = 0; tap < slice_.taps; ++tap) {
      const T* upper_left = products + tap * kCorners * kPixels;
      const T *upper_right = upper_left + kPixels, *lower_left = upper_left + 2 * kPixels;
      const T* lower_right = upper_left + 3 * kPixels;
      const T* share = shares(tap);
      const T scale = static_cast<T>(slice_.offset_scale);
      for (int64_t p = 0; p < kPixels; ++p) {
        const int64_t at = tap * kPixels + p;
        const T right = right_.data()[at], bottom = bottom_.data()[at], weight = scale * modulation_.data()[at];
        const T slope_x =
            (1 - bottom) * (upper_right[p] - upper_left[p]) + bottom * (lower_right[p] - lower_left[p]);
        const T slope_y =
            (1 - right) * (lower_left[p] - upper_left[p]) + right * (lower_right[p] - upper_right[p]);
        by_x[at] = inside_.data()[at] ? weight * slope_x : 0;
        by_y[at] = inside_.data()[at] ? weight * slope_y : 0;
        by_modulation[at] = share[p] * upper_left[p] + share[kPixels + p] * upper_right[p] +
                            share[2 * kPixels + p] * lower_left[p] + share[3 * kPixels + p] * lower_right[p];
      }
    }
  }

 private:
  void locate(int64_t tap, int64_t row, int64_t column) {
    const T scale = static_cast<T>(slice_.offset_scale);
    const T tap_x = static_cast<T>(tap / slice_.size - slice_.size / 2);
    const T tap_y = static_cast<T>(tap % slice_.size - slice_.size / 2);
    const T width = static_cast<T>(slice_.width), height = static_cast<T>(slice_.height);
    const int32_t row_length = static_cast<int32_t>(slice_.row_length());
    const int32_t beyond = static_cast<int32_t>((slice_.height + 1) * slice_.row_length());
    const T *dx = dx_.data() + tap * kPixels, *dy = dy_.data() + tap * kPixels;
    T *right = right_.data() + tap * kPixels, *bottom = bottom_.data() + tap * kPixels;
    T* share = shares_.data() + tap * kCorners * kPixels;
    int32_t *inside = inside_.data() + tap * kPixels, *corner = corners_.data() + tap * kPixels;
    for (int64_t p = 0; p < kPixels; ++p) {
      const T x = static_cast<T>(static_cast<int32_t>(column + p)) + scale * (tap_x + dx[p]);
      const T y = static_cast<T>(static_cast<int32_t>(row)) + scale * (tap_y + dy[p]);
      const bool within = (x > -1) & (x < width) & (y > -1) & (y < height);
      const T safe_x = within ? x : 0, safe_y = within ? y : 0;
      const T left = std::floor(safe_x), top = std::floor(safe_y);
      const T one = within ? 1 : 0;
      right[p] = safe_x - left;
      bottom[p] = safe_y - top;
      inside[p] = within;
      const int32_t pixel = (static_cast<int32_t>(top) + 1) * row_length + static_cast<int32_t>(left) + 1;
      corner[p] = within ? pixel : beyond;
      share[p] = one * (1 - bottom[p]) * (1 - right[p]);
      share[kPixels + p] = one * (1 - bottom[p]) * right[p];
      share[2 * kPixels + p] = one * bottom[p] * (1 - right[p]);
      share[3 * kPixels + p] = one * bottom[p] * right[p];
    }
  }

  Slice slice_;
  Scratch<T> dx_, dy_, modulation_, right_, bottom_;
  Scratch<int32_t> inside_;
  Scratch<T> shares_;
  Scratch<int32_t> corners_;
};

// Call function(first register's channel, number of registers as a constant) for one or two registers at a time.
template <class T, class Function>
void for_registers(int64_t pitch, Function function) {
  int64_t channel = 0;
  for (; channel + 2 * kLength<T> <= pitch; channel += 2 * kLength<T>)
    function(channel, std::integral_constant<int64_t, 2>());
  if (channel < pitch) function(channel, std::integral_constant<int64_t, 1>());
}

template <class T>
void aggregate_pixel(const Slice& slice, const Strip<T>& strip, const T* packed, int64_t p, T* result) {
  const int64_t below = slice.row_length() * slice.pitch, pitch = slice.pitch;
  for_registers<T>(pitch, [&](int64_t channel, auto registers) {
    Register<T> sums[registers] = {};
    for (int64_t tap = 0; tap < slice.taps; ++tap) {
      const T* corner = packed + strip.corners(tap)[p] * pitch + channel;
      const T* share = strip.shares(tap) + p;
      const T weight = strip.modulation(tap)[p];
      const T* at[kCorners] = {corner, corner + pitch, corner + below, corner + below + pitch};
      // The sample first: a corner's share can be zero, and the weight times it no number.
      Register<T> samples[registers] = {};
      for (int64_t c = 0; c < kCorners; ++c)
        for (int64_t r = 0; r < registers; ++r) samples[r] += register_at(at[c] + r * kLength<T>) * share[c * kPixels];
      for (int64_t r = 0; r < registers; ++r) sums[r] += samples[r] * weight;
    }
    for (int64_t r = 0; r < registers; ++r) register_at(result + channel + r * kLength<T>) = sums[r];
  });
}

template <class T>
void forward_slice(
    const Slice& slice, const Tensor& values, const Tensor& offsets, const Tensor& modulation, const Tensor& output,
    int64_t image, int64_t group) {
  const Scratch<T> packed = empty_map<T>(slice);
  pack(slice, slice_of(values, slice.channels, image, group), packed);
  const StridedMap target = slice_of(output, slice.channels, image, group);
  Strip<T> strip(slice);
  Scratch<T> results(kPixels * slice.pitch);
  for (int64_t y = 0; y < slice.height; ++y) {
    for (int64_t x = 0; x < slice.width; x += kPixels) {
      const int64_t count = smaller(kPixels, slice.width - x);
      strip.start(offsets, modulation, image, group, y, x);
      for (int64_t p = 0; p < count; ++p) aggregate_pixel(slice, strip, packed.data(), p, results.data() + p * slice.pitch);
      store_row(target, slice.channels, y, x, count, results.data(), slice.pitch);
    }
  }
}

// Add one pixel's share to the values' gradient, and write its products with the corners, (taps, kCorners, kPixels).
template <class T>
void spread_pixel(
    const Slice& slice, const Strip<T>& strip, const T* packed, const T* gradient, int64_t p, T* packed_gradient,
    T* products) {
  const int64_t below = slice.row_length() * slice.pitch, pitch = slice.pitch;
  const int64_t steps[kCorners] = {0, pitch, below, below + pitch};
  for (int64_t tap = 0; tap < slice.taps; ++tap) {
    const int64_t corner = strip.corners(tap)[p] * pitch;
    const T* share = strip.shares(tap) + p;
    const T weight = strip.modulation(tap)[p];
    Register<T> sums[kCorners] = {};
    for (int64_t channel = 0; channel < pitch; channel += kLength<T>) {
      const Register<T> value = register_at(gradient + channel);
      for (int64_t c = 0; c < kCorners; ++c) {
        const int64_t at = corner + steps[c] + channel;
        sums[c] += value * register_at(packed + at);
        register_at(packed_gradient + at) += (value * share[c * kPixels]) * weight;
      }
    }
    T results[kCorners];
    totals(sums, results);
    for (int64_t c = 0; c < kCorners; ++c) products[(tap * kCorners + c) * kPixels + p] = results[c];
  }
}

template <class T>
void backward_slice(
    const Slice& slice, const Tensor& gradient, const Tensor& values, const Tensor& offsets, const Tensor& modulation,
    const Tensor& values_gradient, const Tensor& offsets_gradient, const Tensor& modulation_gradient, int64_t image,
    int64_t group) {
  const Scratch<T> packed = empty_map<T>(slice), packed_gradient = empty_map<T>(slice);
  pack(slice, slice_of(values, slice.channels, image, group), packed);
  const StridedMap source = slice_of(gradient, slice.channels, image, group);
  Strip<T> strip(slice);
  const Scratch<T> pixels(kPixels * slice.pitch), products(slice.taps * kCorners * kPixels);
  const Scratch<T> by_x(slice.taps * kPixels), by_y(slice.taps * kPixels), by_modulation(slice.taps * kPixels);
  for (int64_t y = 0; y < slice.height; ++y) {
    for (int64_t x = 0; x < slice.width; x += kPixels) {
      const int64_t count = smaller(kPixels, slice.width - x);
      strip.start(offsets, modulation, image, group, y, x);
      load_row(source, slice.channels, y, x, count, pixels.data(), slice.pitch);
      for (int64_t p = 0; p < count; ++p)
        spread_pixel(
            slice, strip, packed.data(), pixels.data() + p * slice.pitch, p, packed_gradient.data(), products.data());
      strip.differentiate(products.data(), by_x.data(), by_y.data(), by_modulation.data());
      store_planes(planes_of(offsets_gradient, image, group, 0), slice.taps, y, x, count, by_x.data());
      store_planes(planes_of(offsets_gradient, image, group, 1), slice.taps, y, x, count, by_y.data());
      store_planes(planes_of(modulation_gradient, image, group, 0), slice.taps, y, x, count, by_modulation.data());
    }
  }
  const StridedMap target = slice_of(values_gradient, slice.channels, image, group);
  for (int64_t y = 0; y < slice.height; ++y)
    store_row(target, slice.channels, y, 0, slice.width, packed_row(slice, packed_gradient, y), slice.pitch);
}

// Call function(slice, image, group) for all slices in parallel, with an element of the accumulation type first.
template <class Function>
void for_each_slice(const Tensor& values, const Tensor& modulation, double offset_scale, Function function) {
  const int64_t groups = modulation.size(1), taps = modulation.size(2);
  const auto run = [&](auto type) {
    using T = decltype(type);
    Slice slice{values.size(1) / groups, 0, values.size(2), values.size(3), taps, 1, offset_scale};
    slice.pitch = round_up(slice.channels, kLength<T>);
    while (slice.size * slice.size < taps) slice.size += 2;
    STD_TORCH_CHECK(slice.pixels() < INT32_MAX, "deformable_aggregate: a map of more than 2^31 locations");
    torch::stable::parallel_for(0, values.size(0) * groups, 1, [&](int64_t begin, int64_t end) {
      for (int64_t number = begin; number < end; ++number) function(type, slice, number / groups, number % groups);
    });
  };
  if (values.scalar_type() == ScalarType::Double) return run(double());
  run(float());
}

void deformable_aggregate(Tensor values, Tensor offsets, Tensor modulation, Tensor output, double offset_scale) {
  for_each_slice(values, modulation, offset_scale, [&](auto type, const Slice& slice, int64_t image, int64_t group) {
    forward_slice<decltype(type)>(slice, values, offsets, modulation, output, image, group);
  });
}

void deformable_aggregate_backward(
    Tensor gradient, Tensor values, Tensor offsets, Tensor modulation, Tensor values_gradient, Tensor offsets_gradient,
    Tensor modulation_gradient, double offset_scale) {
  for_each_slice(values, modulation, offset_scale, [&](auto type, const Slice& slice, int64_t image, int64_t group) {
    backward_slice<decltype(type)>(
        slice, gradient, values, offsets, modulation, values_gradient, offsets_gradient, modulation_gradient, image, group);
  });
}

}  // namespace
}  // namespace feature_pyramids

STABLE_TORCH_LIBRARY_FRAGMENT(feature_pyramids_cpu, library) {
  library.def(
      "deformable_aggregate(Tensor values, Tensor offsets, Tensor modulation, Tensor(a!) output, float offset_scale) -> ()");
  library.def(
      "deformable_aggregate_backward(Tensor gradient, Tensor values, Tensor offsets, Tensor modulation, "
      "Tensor(a!) values_gradient, Tensor(b!) offsets_gradient, Tensor(c!) modulation_gradient, float offset_scale) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(feature_pyramids_cpu, CPU, library) {
  library.impl("deformable_aggregate", TORCH_BOX(&feature_pyramids::deformable_aggregate));
  library.impl("deformable_aggregate_backward", TORCH_BOX(&feature_pyramids::deformable_aggregate_backward));
}
