/* SPDX-License-Identifier: Apache-2.0
 *
 * Licensed under the Apache License, Version 2.0 (the "License"); you may not use this
 * file except in compliance with the License. You may obtain a copy of the License at
 * http://www.apache.org/licenses/LICENSE-2.0. Unless required by applicable law or
 * agreed to in writing, software distributed under the License is distributed on an
 * "AS IS" BASIS, WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or
 * implied. See the License for the specific language governing permissions and
 * limitations under the License.
 *
 * From a detector's raw output to boxes, on the CPU after the DLPU. C99, no dependency
 * but libm (link with -lm), no memory allocated: copy this file into an ACAP application.
 *
 *     detection found[25200];  // static, or on the heap: this is 600 kB
 *     detection_tensor output = detection_u8(larod_output, 0.0041905f, 0);
 *     size_t n = detection_yolov5(output, 25200, 80, 1, 1, 0.25f, found, 25200);
 *     n = detection_nms(found, n, 0.45f, true, 100);
 *
 * Scale and zero point stand in the .tflite file (`dlpu inspect`); larod does not give
 * them at run time.
 *
 * Thresholds are float from 0 to 1 everywhere. One that lands in an int on its way
 * becomes 0, and then everything is found. Outside of 0 to 1, NaN included, nothing is
 * found, so that a percentage left undivided shows at once.
 *
 * Numbers are worked out in double and stored as float, as course_lib.vision.detection
 * does in NumPy, so that both decide alike. Compile with -std=c99 or -ffp-contract=off:
 * otherwise GCC may fuse a multiplication with an addition, where the processor can, and
 * the last bit differs. Never compile with -ffast-math: it takes the checks for NaN away.
 */
#ifndef DETECTION_H
#define DETECTION_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Corners in parts of the picture, 0 to 1, not clipped at its edges. `label` counts from
 * 0 for YOLOv5 and from 1 for SSD, where 0 is background. */
typedef struct {
    float y1, x1, y2, x2;
    float score;
    int label;
} detection;

/* An output of the model: one of the two pointers is set. */
typedef struct {
    const uint8_t *u8;
    const float *f32;
    float scale;
    int zero_point;
} detection_tensor;

static inline detection_tensor detection_u8(const uint8_t *data, float scale,
                                            int zero_point)
{
    detection_tensor tensor = {data, NULL, scale, zero_point};
    return tensor;
}

static inline detection_tensor detection_f32(const float *data)
{
    detection_tensor tensor = {NULL, data, 1.0f, 0};
    return tensor;
}

static inline float detection_level(float scale, int zero_point, int q)
{
    return (float)((double)(q - zero_point) * (double)scale);
}

static inline float detection_value(const detection_tensor *tensor, size_t i)
{
    if (tensor->f32)
        return tensor->f32[i];
    return detection_level(tensor->scale, tensor->zero_point, tensor->u8[i]);
}

/* False for NaN too, because NaN compares false with everything. */
static inline bool detection_is_threshold(float value)
{
    return value >= 0.0f && value <= 1.0f;
}

/* The best of `count` values from `first` on; of equals the first; NaN is never best. */
static inline size_t detection_best(const detection_tensor *tensor, size_t first,
                                    size_t count, float *value)
{
    size_t best = 0;
    *value = -INFINITY;
    for (size_t k = 0; k < count; k++) {
        float v = detection_value(tensor, first + k);
        if (v > *value) {
            *value = v;
            best = k;
        }
    }
    return best;
}

/* SSD, cut before its post-processing.
 *
 * codes:   [count, 4] ty, tx, th, tw
 * scores:  [count, 1 + classes], after the sigmoid; column 0 is background
 * anchors: [count, 4] centre y, centre x, height, width
 * scales:  what the four codes were multiplied by for training; NULL for 10, 10, 5, 5
 * found:   room for `room` boxes; `count` is always enough
 *
 * Returns how many were written, in the order of the anchors. Where it equals a `room`
 * smaller than `count`, later anchors may not have been looked at.
 */
static inline size_t detection_ssd(detection_tensor codes, detection_tensor scores,
                                   const float *anchors, const float *scales,
                                   size_t count, size_t classes, float confidence,
                                   detection *found, size_t room)
{
    static const float usual[4] = {10.0f, 10.0f, 5.0f, 5.0f};
    size_t n = 0;

    if (!scales)
        scales = usual;
    if (!detection_is_threshold(confidence))
        return 0;
    for (size_t i = 0; i < count && n < room; i++) {
        float score;
        size_t best = detection_best(&scores, i * (classes + 1) + 1, classes, &score);
        if (!(score >= confidence))
            continue;
        /* The exponentials come last: few anchors get here. */
        const float *anchor = anchors + 4 * i;
        double code[4];
        for (size_t k = 0; k < 4; k++)
            code[k] = (double)detection_value(&codes, 4 * i + k) / (double)scales[k];
        double y = code[0] * (double)anchor[2] + (double)anchor[0];
        double x = code[1] * (double)anchor[3] + (double)anchor[1];
        double h = exp(code[2]) * (double)anchor[2] / 2;
        double w = exp(code[3]) * (double)anchor[3] / 2;
        detection one = {(float)(y - h), (float)(x - w), (float)(y + h),
                         (float)(x + w), score, (int)best + 1};
        found[n++] = one;
    }
    return n;
}

/* YOLOv5, as its export to .tflite lays it out.
 *
 * output: [count, 5 + classes] centre x, centre y, width, height, objectness, classes
 * height, width: what the numbers of a box are parts of: 1 and 1 where the export
 *         divided by them, like Axis's files, 640 and 640 where it gives pixels
 * found:  room for `room` boxes; `count` is always enough
 *
 * Returns how many were written, in the order of the rows. Where it equals a `room`
 * smaller than `count`, later rows may not have been looked at.
 */
static inline size_t detection_yolov5(detection_tensor output, size_t count,
                                      size_t classes, float height, float width,
                                      float confidence, detection *found, size_t room)
{
    size_t n = 0;
    int least = 0;

    if (!detection_is_threshold(confidence))
        return 0;
    /* Most rows are nothing. The smallest integer that reaches the threshold is found
     * once, and no row below it is dequantized. */
    if (output.u8)
        while (least < 256
               && detection_level(output.scale, output.zero_point, least) < confidence)
            least++;
    for (size_t i = 0; i < count && n < room; i++) {
        size_t row = i * (classes + 5);
        if (output.u8 && output.u8[row + 4] < least)
            continue;
        float objectness = detection_value(&output, row + 4);
        if (!(objectness >= confidence))
            continue;
        float score;
        size_t best = detection_best(&output, row + 5, classes, &score);
        score = (float)((double)score * (double)objectness);
        if (!(score >= confidence))
            continue;
        double x = (double)detection_value(&output, row);
        double y = (double)detection_value(&output, row + 1);
        double w = (double)detection_value(&output, row + 2) / 2;
        double h = (double)detection_value(&output, row + 3) / 2;
        detection one = {(float)((y - h) / (double)height),
                         (float)((x - w) / (double)width),
                         (float)((y + h) / (double)height),
                         (float)((x + w) / (double)width), score, (int)best};
        found[n++] = one;
    }
    return n;
}

/* A box without area, or with corners the wrong way round, has area 0. */
static inline double detection_area(double height, double width)
{
    return (height > 0 ? height : 0) * (width > 0 ? width : 0);
}

/* Shared area over joint area, 0 to 1. */
static inline double detection_iou(const detection *a, const detection *b)
{
    double y1 = (double)(a->y1 > b->y1 ? a->y1 : b->y1);
    double x1 = (double)(a->x1 > b->x1 ? a->x1 : b->x1);
    double y2 = (double)(a->y2 < b->y2 ? a->y2 : b->y2);
    double x2 = (double)(a->x2 < b->x2 ? a->x2 : b->x2);
    double shared = detection_area(y2 - y1, x2 - x1);
    double joint = detection_area((double)a->y2 - (double)a->y1,
                                  (double)a->x2 - (double)a->x1)
                   + detection_area((double)b->y2 - (double)b->y1,
                                    (double)b->x2 - (double)b->x1)
                   - shared;
    return joint > 0 ? shared / joint : 0;
}

/* Non-maximum suppression in place: the best box stays, all that overlap it by more than
 * `iou` go, and so on. Quantized scores are often equal: then the one that stands first
 * is the better. What is not finite is dropped first.
 *
 * Returns how many stay, at most `most`, at the front of `found`, the best first.
 *
 * It picks the best of what is left each time instead of sorting: qsort does not keep
 * the order of equals, and all but `most` boxes would be sorted for nothing.
 */
static inline size_t detection_nms(detection *found, size_t count, float iou,
                                   bool per_class, size_t most)
{
    size_t kept = 0;
    size_t n = 0;

    if (!detection_is_threshold(iou))
        return 0;
    for (size_t i = 0; i < count; i++) {
        const detection *one = &found[i];
        if (isfinite(one->y1) && isfinite(one->x1) && isfinite(one->y2)
            && isfinite(one->x2) && isfinite(one->score))
            found[n++] = *one;
    }
    while (kept < n && kept < most) {
        size_t first = kept;
        for (size_t i = kept + 1; i < n; i++)
            if (found[i].score > found[first].score)
                first = i;
        detection best = found[first];
        /* A swap would change the order of equals; a shift does not. */
        memmove(&found[kept + 1], &found[kept], (first - kept) * sizeof *found);
        found[kept++] = best;
        size_t left = kept;
        for (size_t i = kept; i < n; i++)
            if ((per_class && found[i].label != best.label)
                || !(detection_iou(&best, &found[i]) > (double)iou))
                found[left++] = found[i];
        n = left;
    }
    return kept;
}

#endif
