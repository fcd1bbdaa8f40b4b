// Average pooling of regions by bilinear samples (RoIAlign), forward and backward.
//
// Samples lie on a grid, so what a bin takes of a row and what it takes of a column are independent: each region is reduced
// along its rows first, then across them, with all channels of a location side by side. Backward, a thread owns a block of the
// channels of one image and adds its regions in their order: no atomic additions, the same bits for any number of threads.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "strided_map.h"
#include "vector.h"

namespace feature_pyramids {
namespace {

using torch::stable::Tensor;

// Channels that one thread sums gradients of at a time.
constexpr int64_t kBlock = 64;
constexpr int64_t kColumnsOfRegion = 5;

struct Pooling {
  int64_t bin_rows, bin_columns, samples;
};

// The share of each cell of one axis of the map in each bin of a region; zero outside of [first, last] of the bin.
template <class T>
class Shares {
 public:
  Shares(int64_t bins, int64_t cells) : bins_(bins), cells_(cells), first_(bins), last_(bins), shares_(bins * cells) {}

  // As mmcv: samples in the middle of equal parts, those more than one cell outside count as zeros, others are moved inside.
  void locate(T start, T end, int64_t samples_per_bin) {
    const T length = end - start, bin_length = length / static_cast<T>(bins_);
    const int64_t samples = samples_per_bin > 0 ? samples_per_bin : static_cast<int64_t>(std::ceil(bin_length));
    const T extent = static_cast<T>(cells_);
    for (int64_t bin = 0; bin < bins_; ++bin) {
      T* line = shares_.data() + bin * cells_;
      std::fill(line, line + cells_, T(0));
      first_[bin] = cells_;
      last_[bin] = -1;
      for (int64_t sample = 0; sample < samples; ++sample) {
        const T part = (static_cast<T>(sample) + T(0.5)) * bin_length / static_cast<T>(samples);
        T position = start + static_cast<T>(bin) * bin_length + part;
        if (position < -1 || position > extent) continue;
        if (position < 0) position = 0;
        const int64_t low = smaller(static_cast<int64_t>(position), cells_ - 1), high = smaller(low + 1, cells_ - 1);
        const T fraction = low < high ? position - static_cast<T>(low) : 0;
        line[low] += (1 - fraction) / static_cast<T>(samples);
        line[high] += fraction / static_cast<T>(samples);
        first_[bin] = smaller(first_[bin], low);
        last_[bin] = larger(last_[bin], high);
      }
    }
  }

  int64_t first(int64_t bin) const { return first_[bin]; }
  int64_t last(int64_t bin) const { return last_[bin]; }
  bool reaches(int64_t bin, int64_t cell) const { return first_[bin] <= cell && cell <= last_[bin]; }
  T of(int64_t bin, int64_t cell) const { return shares_[bin * cells_ + cell]; }
  // Bounds of all bins.
  int64_t lowest() const { return *std::min_element(first_.begin(), first_.end()); }
  int64_t highest() const { return *std::max_element(last_.begin(), last_.end()); }

 private:
  int64_t bins_, cells_;
  std::vector<int64_t> first_, last_;
  std::vector<T> shares_;
};

template <class T>
struct Grid {
  Shares<T> rows, columns;

  Grid(const Pooling& pooling, int64_t height, int64_t width)
      : rows(pooling.bin_rows, height), columns(pooling.bin_columns, width) {}

  // A region is image, x1, y1, x2, y2, in cells of the map and from the first cell's centre.
  void locate(const T* region, const Pooling& pooling) {
    columns.locate(region[1], region[3], pooling.samples);
    rows.locate(region[2], region[4], pooling.samples);
  }
};

template <class T>
void add_scaled(T* target, const T* source, T share, int64_t pitch) {
  for (int64_t c = 0; c < pitch; c += kLength<T>) register_at(target + c) += register_at(source + c) * share;
}

template <class T>
const T* region_at(const Tensor& regions, int64_t number) {
  return static_cast<const T*>(regions.data_ptr()) + number * kColumnsOfRegion;
}

template <class T>
void check_regions(const Tensor& regions, int64_t images) {
  for (int64_t number = 0; number < regions.size(0); ++number) {
    const T* region = region_at<T>(regions, number);
    STD_TORCH_CHECK(region[0] >= 0 && region[0] < static_cast<T>(images), "roi_align: a region of an image that is not there");
    for (int64_t axis = 1; axis < 3; ++axis) {
      const T length = region[axis + 2] - region[axis];
      STD_TORCH_CHECK(length >= 0 && length < T(INT32_MAX), "roi_align: a region whose sides are negative or not finite");
    }
  }
}

template <class T>
void pool_region(
    const T* region, const Pooling& pooling, const StridedMap& map, const StridedMap& target, int64_t channels, Grid<T>& grid,
    T* row, T* line, T* sums) {
  const int64_t pitch = round_up(channels, kLength<T>);
  grid.locate(region, pooling);
  std::fill(sums, sums + pooling.bin_rows * pooling.bin_columns * pitch, T(0));
  const int64_t left = grid.columns.lowest(), right = grid.columns.highest();
  for (int64_t y = grid.rows.lowest(); left <= right && y <= grid.rows.highest(); ++y) {
    load_row(map, channels, y, left, right - left + 1, row, pitch);
    std::fill(line, line + pooling.bin_columns * pitch, T(0));
    for (int64_t bin = 0; bin < pooling.bin_columns; ++bin)
      for (int64_t x = grid.columns.first(bin); x <= grid.columns.last(bin); ++x)
        add_scaled(line + bin * pitch, row + (x - left) * pitch, grid.columns.of(bin, x), pitch);
    for (int64_t bin = 0; bin < pooling.bin_rows; ++bin) {
      if (!grid.rows.reaches(bin, y)) continue;
      add_scaled(sums + bin * pooling.bin_columns * pitch, line, grid.rows.of(bin, y), pooling.bin_columns * pitch);
    }
  }
  for (int64_t bin = 0; bin < pooling.bin_rows; ++bin)
    store_row(target, channels, bin, 0, pooling.bin_columns, sums + bin * pooling.bin_columns * pitch, pitch);
}

template <class T>
void pool(const Tensor& features, const Tensor& regions, const Tensor& output, const Pooling& pooling) {
  const int64_t channels = features.size(1), height = features.size(2), width = features.size(3);
  const int64_t pitch = round_up(channels, kLength<T>);
  check_regions<T>(regions, features.size(0));
  torch::stable::parallel_for(0, regions.size(0), 1, [&](int64_t begin, int64_t end) {
    Grid<T> grid(pooling, height, width);
    const Scratch<T> row(width * pitch), line(pooling.bin_columns * pitch);
    const Scratch<T> sums(pooling.bin_rows * pooling.bin_columns * pitch);
    for (int64_t number = begin; number < end; ++number) {
      const T* region = region_at<T>(regions, number);
      const StridedMap map = StridedMap(features, 1).moved(static_cast<int64_t>(region[0]) * features.stride(0));
      const StridedMap target = StridedMap(output, 1).moved(number * output.stride(0));
      pool_region(region, pooling, map, target, channels, grid, row.data(), line.data(), sums.data());
    }
  });
}

// Add the gradient of one region, (bin_rows, bin_columns, pitch), to the map's, (height, width, pitch).
template <class T>
void spread_region(
    const Pooling& pooling, const Grid<T>& grid, const T* gradient, int64_t pitch, int64_t width, T* line, T* target) {
  for (int64_t y = grid.rows.lowest(); y <= grid.rows.highest(); ++y) {
    std::fill(line, line + pooling.bin_columns * pitch, T(0));
    for (int64_t bin = 0; bin < pooling.bin_rows; ++bin)
      if (grid.rows.reaches(bin, y))
        add_scaled(line, gradient + bin * pooling.bin_columns * pitch, grid.rows.of(bin, y), pooling.bin_columns * pitch);
    for (int64_t bin = 0; bin < pooling.bin_columns; ++bin)
      for (int64_t x = grid.columns.first(bin); x <= grid.columns.last(bin); ++x)
        add_scaled(target + (y * width + x) * pitch, line + bin * pitch, grid.columns.of(bin, x), pitch);
  }
}

template <class T>
void spread(const Tensor& gradient, const Tensor& regions, const Tensor& output, const Pooling& pooling) {
  const int64_t channels = output.size(1), height = output.size(2), width = output.size(3);
  const int64_t blocks = divide_up(channels, kBlock);
  check_regions<T>(regions, output.size(0));
  torch::stable::parallel_for(0, output.size(0) * blocks, 1, [&](int64_t begin, int64_t end) {
    Grid<T> grid(pooling, height, width);
    for (int64_t number = begin; number < end; ++number) {
      const int64_t image = number / blocks, channel = number % blocks * kBlock;
      const int64_t count = smaller(kBlock, channels - channel), pitch = round_up(count, kLength<T>);
      const Scratch<T> map(height * width * pitch), line(pooling.bin_columns * pitch);
      const Scratch<T> of_region(pooling.bin_rows * pooling.bin_columns * pitch);
      for (int64_t r = 0; r < regions.size(0); ++r) {
        const T* region = region_at<T>(regions, r);
        if (static_cast<int64_t>(region[0]) != image) continue;
        grid.locate(region, pooling);
        const StridedMap source = StridedMap(gradient, 1).moved(r * gradient.stride(0) + channel * gradient.stride(1));
        for (int64_t bin = 0; bin < pooling.bin_rows; ++bin)
          load_row(
              source, count, bin, 0, pooling.bin_columns, of_region.data() + bin * pooling.bin_columns * pitch, pitch);
        spread_region(pooling, grid, of_region.data(), pitch, width, line.data(), map.data());
      }
      const StridedMap target = StridedMap(output, 1).moved(image * output.stride(0) + channel * output.stride(1));
      for (int64_t y = 0; y < height; ++y) store_row(target, count, y, 0, width, map.data() + y * width * pitch, pitch);
    }
  });
}

void roi_align(Tensor features, Tensor regions, Tensor output, int64_t samples) {
  const Pooling pooling{output.size(2), output.size(3), samples};
  if (regions.scalar_type() == ScalarType::Double) return pool<double>(features, regions, output, pooling);
  pool<float>(features, regions, output, pooling);
}

void roi_align_gradient(Tensor gradient, Tensor regions, Tensor output, int64_t samples) {
  const Pooling pooling{gradient.size(2), gradient.size(3), samples};
  if (regions.scalar_type() == ScalarType::Double) return spread<double>(gradient, regions, output, pooling);
  spread<float>(gradient, regions, output, pooling);
}

}  // namespace
}  // namespace feature_pyramids

STABLE_TORCH_LIBRARY_FRAGMENT(feature_pyramids_cpu, library) {
  library.def("roi_align(Tensor features, Tensor regions, Tensor(a!) output, int samples) -> ()");
  library.def("roi_align_gradient(Tensor gradient, Tensor regions, Tensor(a!) output, int samples) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(feature_pyramids_cpu, CPU, library) {
  library.impl("roi_align", TORCH_BOX(&feature_pyramids::roi_align));
  library.impl("roi_align_gradient", TORCH_BOX(&feature_pyramids::roi_align_gradient));
}
