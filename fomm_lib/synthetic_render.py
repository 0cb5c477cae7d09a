"""Drawing the synthetic heads: OpenGL without a window (EGL), a few shaders, and no picture files.

Every colour is computed from the *place on the undeformed head* (dm, MakeHuman's base mesh), so that
freckles, brows, lips and strands of hair stick to the surface however it moves. Light is summed in linear
RGB: sky and ground, and up to three lamps, one of which casts shadows.

The shaders tell parts apart by `KIND`, the number of the part in `synthetic_anatomy.PARTS`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from fomm_lib.files import InputError

# --- Shaders -----------------------------------------------------------------------------------------------

_VERTEX = """
#version 330
in vec3 position; in vec3 normal; in vec3 canonical; in vec4 aux; in vec3 other;
uniform mat4 view_projection; uniform mat4 other_projection; uniform mat4 light_projection;
out vec3 p; out vec3 n; out vec3 c; out vec4 a; out vec4 in_light; out vec4 in_other;
void main() {
    p = position; n = normal; c = canonical; a = aux;
    in_light = light_projection * vec4(position, 1.0);
    in_other = other_projection * vec4(other, 1.0);
    gl_Position = view_projection * vec4(position, 1.0);
}
"""

# What all fragment shaders share: noise as a function of the place; which points of a surface are missing.
_COMMON = """
#version 330
in vec3 p; in vec3 n; in vec3 c; in vec4 a; in vec4 in_light; in vec4 in_other;
const int kind = KIND;
uniform sampler3D noise_grid;
uniform float seed;
uniform vec4 hairline;      // height at the forehead, slope to the nape, temples, -
uniform vec4 hair_shape;    // opening angle at the face, hangs (0/1), fringe's length, fringe's half angle
uniform vec4 hair_strand;   // waves, frequency of strands, raggedness of the rim, slant of the fringe
uniform vec4 neckline;      // height of the collar in front, at the side, depth of the V, its half width
uniform float lash_density;

vec4 noise(vec3 q) { return texture(noise_grid, q / 32.0); }
// How far inside the hairline a place of the skull lies, in dm (negative: bare skin).
float scalp(vec3 q) {
    float x = abs(q.x);
    float front = hairline.x + hairline.z * smoothstep(0.25, 0.65, x) * smoothstep(0.2, 1.0, q.z);
    float sideburn = 0.35 * smoothstep(0.2, 0.0, abs(q.z - 0.78)) * smoothstep(0.5, 0.7, x);
    return 0.75 * (q.y - front - hairline.y * (q.z - 1.35) + sideburn);
}
float waved(vec4 hair) { return hair.x + 0.02 * hair_strand.x * sin(40.0 * hair.y + seed); }
// How far inside the rim of the hair a point lies. hair: angle around the head, way from crown to tips.
float hair_inside(vec3 q, vec4 hair) {
    float angle = waved(hair) * hair_strand.y;
    float strand = noise(vec3(angle, hair.y * 4.0, seed)).r - 0.5;
    strand += 0.5 * noise(vec3(angle * 2.7, hair.y * 7.0, seed + 9.0)).g - 0.25;
    float middle = abs(hair.x - 0.3 * hair_strand.w);
    float fringe = hair_shape.z * smoothstep(hair_shape.w, 0.6 * hair_shape.w, middle);
    float inside = scalp(q) + fringe * (1.0 + hair_strand.w * hair.x);
    if (hair_shape.y > 0.5) {
        inside = max(inside, 0.8 * (abs(hair.x) - hair_shape.x));
        inside = min(inside, 4.0 * (1.0 - hair.y));
    }
    return inside + hair_strand.z * strand;
}
float cloth_inside(vec3 q) {
    float top = mix(neckline.y, neckline.x, smoothstep(-0.5, 1.3, q.z));
    top -= neckline.z * max(0.0, 1.0 - abs(q.x) / neckline.w) * step(0.5, q.z);
    return top + 1.5 * smoothstep(0.75, 1.0, abs(q.x)) - q.y;
}
bool missing() {
    if (kind == 4) return fract(a.x * 123.0 + 0.3 * a.y) > lash_density * (a.y > 0.5 ? 0.45 : 1.0);
    if (kind == 5) return hair_inside(c, a) < 0.0;
    if (kind == 6) return cloth_inside(c) < 0.0;
    return false;
}
"""

_DEPTH_FRAGMENT = (
    _COMMON
    + """
void main() { if (missing() || kind == 4) discard; }
"""
)

# What a pixel shows: its place on the undeformed head and the number of the part (+1; 0 is background).
_PLACE_FRAGMENT = (
    _COMMON
    + """
out vec4 place;
void main() {
    if (missing()) discard;
    place = vec4(c, float(kind) + 1.0);
}
"""
)

# Where the same point of the surface lies in another frame, and whether that frame shows it there.
_FLOW_FRAGMENT = (
    _COMMON
    + """
out vec4 flow;
uniform sampler2D other_depth;
void main() {
    if (missing()) discard;
    vec3 q = in_other.xyz / in_other.w;
    float inside = step(max(abs(q.x), abs(q.y)), 1.0);
    float nearest = texture(other_depth, q.xy * 0.5 + 0.5).r;
    flow = vec4(q.xy, inside * step(q.z * 0.5 + 0.5, nearest), 1.0);
}
"""
)

_FRAGMENT = (
    _COMMON
    + """
out vec4 colour;
uniform sampler2D shadow_map;
uniform vec3 eye_point;
uniform vec3 lamp_direction[3]; uniform vec3 lamp_colour[3]; uniform vec3 sky; uniform vec3 ground;
uniform float shadow_strength; uniform float exposure; uniform float unlit;
uniform vec3 skin; uniform vec3 blush; uniform vec3 lips; uniform vec3 iris; uniform float teeth_tone;
uniform vec3 hair; uniform vec3 hair_tip; uniform vec3 brow; uniform vec3 beard;
uniform vec3 cloth; uniform vec3 cloth_second; uniform vec3 shirt; uniform vec3 rim;
uniform vec4 skin_detail;   // blotches, freckles, wrinkles, shine
uniform vec4 make_up;       // eye shadow, eye liner, bags under the eyes, redness of cheeks
uniform vec4 brow_shape;    // thickness, arch, density, inner end
uniform vec4 beard_shape;   // on cheek and chin, moustache, height on the cheek, grain
uniform vec4 scalp_paint;   // how much of the scalp is coloured, softness, grain, -
uniform vec4 eye_detail;    // angle of the iris, of the pupil, redness, whiteness
uniform vec4 cloth_detail;  // pattern's number, its frequency, opening of a jacket (0: none), tie (0/1)

float blob(vec3 away) { return exp(-dot(away, away)); }
float shadow(vec3 normal) {
    vec3 q = in_light.xyz * 0.5 + 0.5;
    if (any(lessThan(q, vec3(0.0))) || any(greaterThan(q, vec3(1.0)))) return 1.0;
    float bias = 0.002 + 0.008 * (1.0 - max(dot(normal, lamp_direction[0]), 0.0)), lit = 0.0;
    for (int i = -1; i <= 1; i++)
        for (int j = -1; j <= 1; j++)
            lit += step(q.z - bias, texture(shadow_map, q.xy + vec2(i, j) / 384.0).r);
    return mix(1.0, lit / 9.0, shadow_strength);
}
float brow_cover() {
    float x = abs(c.x);
    float along = clamp((x - brow_shape.w) / (0.53 - brow_shape.w), 0.0, 1.0);
    float middle = 7.46 + brow_shape.y * along * (1.15 - along) - 0.045 * along * along;
    float half_width = brow_shape.x * (1.0 - 0.75 * along * along) * smoothstep(-0.02, 0.12, along);
    float hairs = noise(vec3(c.x * 160.0, c.y * 60.0 + x * 60.0, seed)).r;
    float inside = smoothstep(half_width, 0.35 * half_width, abs(c.y - middle) + 0.02 * (hairs - 0.5));
    float ends = smoothstep(brow_shape.w - 0.03, brow_shape.w + 0.04, x) * smoothstep(0.56, 0.5, x);
    return inside * ends * (0.55 + 0.45 * hairs) * brow_shape.z * step(0.8, c.z);
}
float beard_cover(float rough, float grain) {
    float x = abs(c.x), front = step(1.2, c.z);
    float top = beard_shape.z - 0.3 * smoothstep(0.45, 0.0, x);
    float jaw = smoothstep(top + 0.06, top - 0.08, c.y + 0.1 * (rough - 0.5)) * smoothstep(0.35, 0.6, c.z);
    jaw *= smoothstep(5.95, 6.15, c.y + 0.15 * c.z);
    float bare = smoothstep(0.33, 0.24, x) * smoothstep(6.52, 6.57, c.y) * smoothstep(6.8, 6.74, c.y) * front;
    float lip = smoothstep(0.075, 0.03, abs(c.y - 6.775 + 0.25 * x * x)) * smoothstep(0.34, 0.26, x) * front;
    float cover = max(jaw * (1.0 - bare) * beard_shape.x, lip * beard_shape.y);
    return cover * mix(1.0, smoothstep(0.25, 0.75, grain), beard_shape.w);
}
// Fine lines of age: across the forehead, beside the eyes, from the nose to the mouth.
float wrinkles(float wobble) {
    float x = abs(c.x), y = c.y;
    float lines = smoothstep(0.7, 1.0, sin(75.0 * y + 3.0 * wobble)) * smoothstep(0.5, 0.2, x);
    lines *= smoothstep(7.55, 7.65, y) * smoothstep(7.95, 7.85, y);
    float fold = exp(-pow((x - 0.24 - 0.28 * (6.95 - y)) / 0.025, 2.0));
    fold *= smoothstep(6.98, 6.9, y) * smoothstep(6.6, 6.72, y);
    float feet = smoothstep(0.6, 1.0, sin((y - 7.28) / max(x - 0.36, 0.01) * 16.0));
    feet *= smoothstep(0.46, 0.5, x) * smoothstep(0.62, 0.55, x) * smoothstep(0.14, 0.05, abs(y - 7.27));
    return step(0.9, c.z) * (0.25 * lines + 0.35 * fold + 0.25 * feet);
}
vec3 cloth_pattern() {
    float f = cloth_detail.y, number = cloth_detail.x, second = 0.0;
    if (number > 4.5) second = step(0.6, noise(floor(c * f * 2.0) * 5.3).r);
    else if (number > 3.5) second = smoothstep(0.45, 0.55, noise(c * f * 2.0 + seed).r);
    else if (number > 2.5) second = 0.5 * step(0.6, fract(c.x * f)) + 0.5 * step(0.6, fract(c.y * f));
    else if (number > 1.5) second = step(0.7, fract(c.x * f));
    else if (number > 0.5) second = step(0.5, fract(c.y * f));
    vec3 base = mix(cloth, cloth_second, second);
    float below = neckline.x - c.y, x = abs(c.x);
    float opening = cloth_detail.z * clamp(1.0 - 0.5 * below, 0.0, 2.0);
    if (cloth_detail.z > 0.0 && c.z > 0.3) {
        if (x < opening) {
            base = cloth_detail.w > 0.5 && x < 0.16 + 0.04 * below ? cloth_second : shirt;
            base *= mix(0.75, 1.0, smoothstep(0.0, 0.08, opening - x));
        } else if (x < opening + 0.3) base *= 0.85;     // lapels
    }
    return base * (0.85 + 0.3 * noise(c * 6.0 + seed).r);
}
void main() {
    if (missing()) discard;
    vec3 to_eye = normalize(eye_point - p);
    vec3 normal = normalize(n);
    if ((kind == 2 || kind > 3) && dot(normal, to_eye) < 0.0) normal = -normal;     // open surfaces
    vec3 albedo = vec3(0.5), bleed = vec3(0.0);
    float shine = 0.0, power = 20.0, wrap = 0.0, dark = 1.0;    // dark: how much light gets to the place

    if (kind == 0) {            // skin
        vec4 n0 = noise(c * 6.0 + seed), n1 = noise(c * 13.0 + seed), n2 = noise(c * 29.0 + seed);
        vec4 n3 = noise(c * 70.0 + seed), n4 = noise(c * 150.0);
        float x = abs(c.x), front = step(0.9, c.z);
        vec3 q = vec3(x, c.yz);
        float blotch = 0.5 * n0.r + 0.3 * n1.r + 0.2 * n2.r - 0.5;
        albedo = skin * (1.0 + 0.7 * skin_detail.x * blotch);
        albedo *= 1.0 + 0.25 * skin_detail.x * (0.5 * n2.g + 0.5 * n3.g - 0.5);
        float ear = smoothstep(0.72, 0.8, x) * smoothstep(7.6, 7.4, c.y) * step(6.7, c.y);
        float red = blob((q - vec3(0.45, 6.95, 1.25)) / vec3(0.22, 0.2, 0.4)) + 0.6 * ear;
        red += 0.6 * blob((c - vec3(0.0, 6.98, 1.65)) / vec3(0.14, 0.13, 0.15));
        red = clamp(make_up.w * red + 0.5 * skin_detail.x * max(blotch, 0.0), 0.0, 1.0);
        albedo *= mix(vec3(1.0), blush, red);
        float freckle = skin_detail.y * smoothstep(0.6, 0.75, 0.4 * n2.b + 0.6 * n3.a);
        freckle *= smoothstep(7.6, 7.2, c.y);
        freckle += 0.9 * smoothstep(0.93, 0.97, n0.b) * step(0.3, skin_detail.x);
        albedo *= mix(vec3(1.0), vec3(0.62, 0.45, 0.35), clamp(freckle, 0.0, 1.0));
        vec3 bag = vec3(x - 0.31, c.y - 7.16, 0.0) / vec3(0.15, 0.06, 1.0);
        vec3 lid = vec3(x - 0.33, c.y - 7.37, 0.0) / vec3(0.17, 0.07, 1.0);
        albedo *= 1.0 - 0.45 * front * make_up.z * blob(bag);
        albedo *= mix(vec3(1.0), mix(vec3(0.55), blush, 0.3), front * make_up.x * blob(lid));
        albedo = mix(albedo, vec3(0.03), 0.7 * make_up.y * smoothstep(0.3, 1.0, a.z));
        albedo *= mix(vec3(1.0), vec3(0.85, 0.6, 0.55), 0.5 * a.z);
        albedo *= 1.0 - skin_detail.z * wrinkles(n0.a);
        vec3 lip = lips * (0.85 + 0.3 * noise(c * vec3(90.0, 8.0, 8.0)).r);
        albedo = mix(albedo, lip, smoothstep(0.15, 0.75, a.x) * (1.0 - a.y));
        albedo = mix(albedo, beard, beard_cover(n2.a, n4.g) * (1.0 - smoothstep(0.2, 0.6, a.x)));
        albedo = mix(albedo, brow, brow_cover());
        float soft = scalp_paint.y;
        float grown = smoothstep(-soft, soft, scalp(c) + 0.06 * (n2.r - 0.5)) * scalp_paint.x;
        grown *= 1.0 - smoothstep(0.73, 0.76, x) * step(c.y, 7.85) * step(0.2, c.z) * step(c.z, 0.85);
        grown *= 1.0 - scalp_paint.z * (1.0 - smoothstep(0.3, 0.6, n3.b));
        albedo = mix(albedo, hair * 0.8, grown);
        albedo = mix(albedo, vec3(0.25, 0.05, 0.04), a.y);
        dark = mix(1.0, 0.25 + 0.75 * smoothstep(1.15, 1.5, c.z), a.y);
        dark *= 1.0 - 0.85 * blob((q - vec3(0.075, 6.88, 1.53)) / vec3(0.05, 0.035, 0.08));  // nostrils
        dark *= 1.0 - 0.35 * blob((c - vec3(0.0, 6.1, 0.95)) / vec3(0.6, 0.2, 0.45));  // below the chin
        dark *= 1.0 - 0.25 * blob((q - vec3(0.17, 7.3, 1.42)) / vec3(0.07, 0.1, 0.1));  // beside the nose
        normal += (0.06 + 0.12 * skin_detail.z) * normalize(0.4 * n2.gba + 0.6 * n3.rgb - 0.49) * (1.0 - a.x);
        normal = normalize(normal);
        shine = skin_detail.w * (0.6 + 0.8 * n2.g) * (1.0 - grown) + 0.35 * a.x + 0.5 * a.y;
        power = mix(14.0, 40.0, a.x);
        wrap = 0.25;
        bleed = vec3(0.25, 0.06, 0.03) * (1.0 - grown);
    } else if (kind == 1) {     // eye; a: direction from its centre
        float angle = acos(clamp(a.z, -1.0, 1.0)), edge = eye_detail.x;
        float fibres = noise(vec3(atan(a.y, a.x) * 14.0, angle * 9.0, seed)).r;
        float veins = eye_detail.z * smoothstep(0.6, 1.2, angle);
        vec3 white = mix(vec3(0.62, 0.6, 0.58), vec3(0.62, 0.42, 0.36), veins) * eye_detail.w;
        vec3 ring = iris * (0.55 + 0.9 * fibres) * mix(1.3, 0.8, angle / edge);
        ring *= mix(1.0, 0.25, smoothstep(0.82 * edge, edge, angle));
        albedo = mix(ring, white, smoothstep(0.94 * edge, 1.06 * edge, angle));
        albedo *= smoothstep(0.85 * eye_detail.y, 1.1 * eye_detail.y, angle);
        dark = 0.45 + 0.55 * smoothstep(0.75, 0.0, a.y) * smoothstep(1.5, 0.6, angle);
        shine = 1.2; power = 120.0; wrap = 0.15;
    } else if (kind == 2) {     // teeth
        float gap = smoothstep(0.0, 0.2, abs(fract(c.x * 13.0) - 0.5));
        albedo = mix(vec3(0.72, 0.68, 0.58), vec3(0.72, 0.6, 0.38), teeth_tone) * (0.75 + 0.25 * gap);
        albedo = mix(albedo, vec3(0.45, 0.16, 0.15), smoothstep(0.09, 0.12, abs(c.y - 6.66)));
        dark = 0.3 + 0.8 * smoothstep(1.15, 1.42, c.z);
        shine = 0.4; power = 50.0;
    } else if (kind == 3) {     // tongue
        albedo = vec3(0.42, 0.12, 0.11);
        dark = 0.1 + 0.7 * smoothstep(1.0, 1.45, c.z);
        shine = 0.4; power = 30.0;
    } else if (kind == 4) {     // lashes
        albedo = vec3(0.02, 0.015, 0.012);
    } else if (kind == 5) {     // hair
        float angle = waved(a) * hair_strand.y;
        float strand = 0.6 * noise(vec3(angle, a.y * 3.0, seed + 4.0)).r;
        strand += 0.4 * noise(vec3(angle * 3.1, a.y * 6.0, seed)).g;
        albedo = mix(hair, hair_tip, clamp(a.y + 0.6 * (strand - 0.5), 0.0, 1.0)) * (0.35 + 1.3 * strand);
        albedo *= 0.55 + 0.45 * smoothstep(0.0, 0.16, hair_inside(c, a));
        normal = normalize(normal + normalize(cross(normal, vec3(0.0, 1.0, 0.1))) * (strand - 0.5) * 1.1);
        wrap = 0.3;
    } else if (kind == 6) {     // clothes
        albedo = cloth_pattern();
        dark = 0.6 + 0.4 * smoothstep(0.0, 0.12, cloth_inside(c));
        wrap = 0.1;
        vec3 folds = 0.6 * noise(c * 3.0 + seed).rgb + 0.4 * noise(c * 8.0 + seed).rgb - 0.5;
        normal = normalize(normal + 0.9 * folds);
    } else if (kind == 7) {     // rim of the glasses
        albedo = rim;
        shine = 1.0; power = 60.0;
    } else {                    // dark lenses
        albedo = vec3(0.012);
        shine = 2.5; power = 90.0;
    }

    float lit = shadow(normalize(n));
    if (kind == 2) lit = 0.55 + 0.45 * lit;     // lips let light through, teeth are never black
    vec3 light = mix(ground, sky, 0.5 + 0.5 * normal.y), gloss = vec3(0.0);
    for (int i = 0; i < 3; i++) {
        vec3 l = lamp_direction[i], h = normalize(l + to_eye);
        vec3 strength = lamp_colour[i] * (i == 0 ? lit : 1.0);
        float cosine = dot(normal, l);
        // Light that wraps around an edge and comes out red: skin lets it through.
        vec3 soft = bleed * smoothstep(-0.35, 0.1, cosine) * smoothstep(0.45, 0.0, cosine);
        light += strength * (max((cosine + wrap) / (1.0 + wrap), 0.0) + soft);
        if (kind == 5) {        // strands shine in bands across their length
            vec3 along = normalize(vec3(0.0001, -1.0, 0.0) + normal * normal.y);
            float sine2 = 1.0 - dot(along, h) * dot(along, h);
            gloss += strength * (0.035 + 0.18 * hair) * pow(max(sine2, 0.0), 22.0) * max(cosine + 0.2, 0.0);
        } else {
            float fresnel = 0.04 + 0.5 * pow(1.0 - max(dot(normal, to_eye), 0.0), 5.0);
            float lobe = (power + 8.0) / 25.0 * pow(max(dot(normal, h), 0.0), power);
            gloss += strength * shine * lobe * fresnel * step(0.0, cosine);
        }
    }
    vec3 result = (albedo * light + gloss) * dark * exposure;
    result *= (1.0 + 0.08 * result) / (1.0 + 0.4 * result);    // bright light fades like on film
    if (unlit > 0.5) result = albedo;
    colour = vec4(pow(max(result, 0.0), vec3(1.0 / 2.2)), 1.0);
}
"""
)

_BACKGROUND_VERTEX = """
#version 330
out vec2 q;
void main() {
    q = vec2((gl_VertexID << 1) & 2, gl_VertexID & 2) * 2.0 - 1.0;
    gl_Position = vec4(q, 0.9999999, 1.0);
}
"""

_BACKGROUND_FRAGMENT = """
#version 330
in vec2 q;
out vec4 colour;
uniform sampler3D noise_grid;
uniform sampler2D backdrop;
uniform float seed;
uniform vec3 wall[4];
uniform vec4 scene;         // kind, scale, blur, angle
uniform float exposure; uniform float unlit;
vec4 noise(vec3 p) { return texture(noise_grid, p / 32.0); }
float box(vec2 d, float soft) { return smoothstep(soft, -soft, d.x) * smoothstep(soft, -soft, d.y); }
void main() {
    if (scene.x > 5.5) {                                // a picture, ready to be shown
        colour = vec4(texture(backdrop, 0.5 * q + 0.5).rgb, 1.0);
        return;
    }
    float s = sin(scene.w), k = cos(scene.w);
    vec2 u = mat2(k, s, -s, k) * q;
    float t = smoothstep(-1.2, 1.2, u.y + 0.4 * (noise(vec3(u * 2.0, seed)).r - 0.5));
    vec3 result = mix(wall[0], wall[1], t);
    if (scene.x > 0.5 && scene.x < 1.5) {              // soft blobs of light
        for (int i = 0; i < 14; i++) {
            vec4 r = noise(vec3(float(i) * 3.7 + 0.5, seed * 1.3, 4.5));
            vec2 centre = (r.rg - 0.5) * 4.5;
            float radius = 0.12 + 0.5 * r.b * scene.y;
            float spot = smoothstep(radius, radius * (1.0 - 0.9 * scene.z), length(q - centre));
            result = mix(result, mix(wall[2], wall[3], r.a) * 1.3, spot * 0.6);
        }
    } else if (scene.x < 2.5 && scene.x > 1.5) {        // cloudy texture
        float f = 0.0, w = 0.5;
        for (int i = 0; i < 4; i++) {
            f += w * noise(vec3(u * scene.y * 3.0 * exp2(float(i)), seed + float(i))).r;
            w *= 0.55;
        }
        result = mix(result, wall[2], smoothstep(0.3, 0.7, f));
        float cloud = noise(vec3(u * scene.y * 5.0, seed + 8.0)).g;
        result = mix(result, wall[3], smoothstep(0.5, 0.8, cloud) * 0.6);
    } else if (scene.x < 3.5 && scene.x > 2.5) {        // boards, shelves, windows out of focus
        float soft = 0.015 + 0.2 * scene.z;
        for (int i = 0; i < 16; i++) {
            vec4 r = noise(vec3(float(i) * 5.3 + 0.5, seed * 1.7, 9.5));
            vec4 w = noise(vec3(float(i) * 4.1 + 2.5, seed * 2.3, 17.5));
            vec2 half_size = vec2(0.05 + 0.7 * r.b, 0.05 + 0.9 * w.r) * scene.y;
            vec2 outside = abs(u - (r.rg - 0.5) * 5.0) - half_size;
            result = mix(result, mix(wall[int(w.g * 3.99)], wall[2], w.b), box(outside, soft));
        }
    } else if (scene.x > 3.5) {                         // stripes or tiles
        float soft = 0.04 + 0.4 * scene.z;
        vec2 f = abs(fract(u * scene.y * 2.0) - 0.5) * 2.0;
        float m = smoothstep(0.5 - soft, 0.5 + soft, f.x);
        if (scene.x > 4.5) m = max(m, smoothstep(0.85 - soft, 0.85 + soft, f.y));
        result = mix(result, wall[2], m);
        result = mix(result, wall[3], 0.5 * smoothstep(0.4, 0.7, noise(vec3(u * 2.0, seed)).r));
    }
    if (unlit < 0.5) result *= exposure;
    colour = vec4(pow(max(result, 0.0), vec3(1.0 / 2.2)), 1.0);
}
"""

PICTURE = 6  # the kind of scene that shows the backdrop
_SHADOW_SIZE = 384
_ORDER = (8, 7, 5, 6, 1, 0, 2, 3, 4)  # of the parts: what hides others comes first, so that these cost little
_DEPTH_FACTOR = 4  # the depth that decides what is occluded is drawn this much larger than the picture
_FRAGMENTS = {
    "draw": _FRAGMENT,
    "depth": _DEPTH_FRAGMENT,
    "place": _PLACE_FRAGMENT,
    "flow": _FLOW_FRAGMENT,
}
_STILL = {"canonical": 3, "aux": 4}  # columns of numbers that stay the same, and those that move
_MOVING = {"position": 3, "normal": 3, "other": 3}


class Renderer:
    """Draws without a window. To be used from one thread, the first that made one.

    Rows of pictures run downwards: the projection matrices that come in turn the y axis, nothing here does.

    Args:
        size: width and height of the pictures in pixels.
        supersampling: the picture is drawn this many times larger and averaged.

    Raises:
        InputError: moderngl is not installed, or the machine has no EGL.

    Example:
        >>> renderer = Renderer(128)
        >>> renderer.load(surfaces.faces, surfaces.part, surfaces.canonical, surfaces.aux)
        >>> picture = renderer.draw(*pose(body, posture), uniforms)
    """

    def __init__(self, size: int, supersampling: int = 2):
        self.size, self.supersampling = size, supersampling
        self.context = gl = _context()
        side = size * supersampling
        self._picture = gl.framebuffer(
            [gl.renderbuffer((side, side), 4)], gl.depth_renderbuffer((side, side))
        )
        self._numbers = gl.framebuffer(
            [gl.texture((size, size), 4, dtype="f4")], gl.depth_renderbuffer((size, size))
        )
        self._lamp_depth = self._depth_target(_SHADOW_SIZE)
        self._other_depth = None  # made when it is first needed
        values = np.random.default_rng(0).integers(0, 256, (32, 32, 32, 4), dtype=np.uint8)
        self._noise = gl.texture3d((32, 32, 32), 4, values.tobytes())
        self._background = gl.program(vertex_shader=_BACKGROUND_VERTEX, fragment_shader=_BACKGROUND_FRAGMENT)
        self._whole_picture = gl.vertex_array(self._background, [])
        self._backdrop = gl.texture((1, 1), 3, bytes(3), alignment=1)
        self._programs: dict[tuple[str, int], Any] = {}
        self._arrays: dict[tuple[str, int], Any] = {}
        self._buffers: list[Any] = []
        self.loaded: Any = None  # whoever called `load` last may note that here
        gl.enable(gl.DEPTH_TEST)

    def load(self, faces: np.ndarray, part: np.ndarray, canonical: np.ndarray, aux: np.ndarray) -> None:
        """Hand over what does not change from frame to frame.

        Args:
            faces: (F, 3) triangles to draw.
            part, canonical, aux: (V,) part numbers, (V, 3) places on the undeformed head, and (V, 4), as in
                `synthetic_anatomy.Surfaces`.
        """
        for thing in [*self._arrays.values(), *self._buffers]:
            thing.release()
        gl = self.context
        still = gl.buffer(np.concatenate([canonical, aux], axis=1).astype("f4").tobytes())
        self._moving = gl.buffer(reserve=4 * sum(_MOVING.values()) * len(canonical), dynamic=True)
        self._buffers, self._arrays = [still, self._moving], {}
        for kind in _ORDER:
            triangles = faces[part[faces[:, 0]] == kind].astype("i4")
            if len(triangles) == 0:
                continue
            index = gl.buffer(triangles.tobytes())
            self._buffers.append(index)
            for use in _FRAGMENTS:
                program = self._program(use, kind)
                columns = [_columns(program, still, _STILL), _columns(program, self._moving, _MOVING)]
                used = [c for c in columns if len(c) > 2]
                self._arrays[use, kind] = gl.vertex_array(program, used, index_buffer=index)

    def load_backdrop(self, picture: np.ndarray) -> None:
        """The picture, uint8 (H, W, 3), that fills the background where the scene is of the kind PICTURE."""
        height, width = picture.shape[:2]
        self._backdrop.release()
        self._backdrop = self.context.texture((width, height), 3, picture.tobytes(), alignment=1)

    def draw(self, positions: np.ndarray, normals: np.ndarray, uniforms: dict[str, Any]) -> np.ndarray:
        """One frame: (size, size, 3) float32 in [0, 1], gamma-coded as pictures are."""
        self._move(positions, normals)
        self._lamp_depth.use()
        self._lamp_depth.clear()
        self._render("depth", {**uniforms, "view_projection": uniforms["light_projection"]})
        self._picture.use()
        self._picture.clear()
        self._lamp_depth.depth_attachment.use(0)
        self._noise.use(1)
        self._backdrop.use(2)
        _set(self._background, uniforms)
        self._whole_picture.render(vertices=3)
        self._render("draw", uniforms)
        k = self.supersampling
        raw = np.frombuffer(self._picture.read(components=3), np.uint8)
        return raw.reshape(self.size, k, self.size, k, 3).mean(axis=(1, 3), dtype=np.float32) / 255

    def places(self, positions: np.ndarray, uniforms: dict[str, Any]) -> np.ndarray:
        """What pixels' centres show: (size, size, 4), place on the undeformed head (dm), part number + 1."""
        self._move(positions, positions)
        return self._render_numbers("place", uniforms)

    def flow(self, source: np.ndarray, driving: np.ndarray, uniforms: dict[str, Any]) -> np.ndarray:
        """Where the source frame shows what each pixel's centre of the driving frame shows.

        Args:
            source, driving: (V, 3) positions in the two frames.
        Returns:
            (size, size, 4): x and y in the source, -1 to 1 between the picture's outer edges; 1 where the
            source shows the point, 0 where something hides it or it lies outside; 1 where there is a surface,
            0 for background.
        """
        if self._other_depth is None:
            self._other_depth = self._depth_target(self.size * _DEPTH_FACTOR)
        gl = self.context
        self._move(source, source)
        self._other_depth.use()
        self._other_depth.clear()
        gl.polygon_offset = 2.0, 4.0  # half a step back: a surface must not hide itself
        self._render("depth", uniforms)
        gl.polygon_offset = 0.0, 0.0
        self._move(driving, driving, source)
        self._other_depth.depth_attachment.use(0)
        return self._render_numbers("flow", {**uniforms, "other_projection": uniforms["view_projection"]})

    def _program(self, use: str, kind: int) -> Any:
        # Software rasterisers run both sides of every branch, so each part has programmes of its own.
        if (use, kind) not in self._programs:
            fragment = _FRAGMENTS[use].replace("#version 330", f"#version 330\n#define KIND {kind}")
            self._programs[use, kind] = self.context.program(vertex_shader=_VERTEX, fragment_shader=fragment)
        return self._programs[use, kind]

    def _depth_target(self, side: int) -> Any:
        depth = self.context.depth_texture((side, side))
        depth.compare_func = ""
        depth.filter = (self.context.NEAREST, self.context.NEAREST)
        depth.repeat_x = depth.repeat_y = False
        return self.context.framebuffer(depth_attachment=depth)

    def _move(self, positions: np.ndarray, normals: np.ndarray, others: np.ndarray | None = None) -> None:
        others = positions if others is None else others
        self._moving.write(np.concatenate([positions, normals, others], axis=1).astype("f4").tobytes())

    def _render(self, use: str, uniforms: dict[str, Any]) -> None:
        self._noise.use(1)
        for (this_use, kind), array in self._arrays.items():
            if this_use == use:
                _set(self._programs[use, kind], uniforms)
                array.render()

    def _render_numbers(self, use: str, uniforms: dict[str, Any]) -> np.ndarray:
        self._numbers.use()
        self._numbers.clear(0.0, 0.0, 0.0, 0.0)
        self._render(use, uniforms)
        raw = np.frombuffer(self._numbers.read(components=4, dtype="f4"), np.float32)
        return raw.reshape(self.size, self.size, 4).copy()


def _columns(program: Any, buffer: Any, columns: dict[str, int]) -> tuple:
    """A buffer's columns as moderngl wants them told; a column that the programme does not use is padding."""
    used = [name for name in columns if name in program]
    layout = " ".join(f"{n}f" if name in used else f"{4 * n}x" for name, n in columns.items())
    return (buffer, layout, *used)


def _set(program: Any, uniforms: dict[str, Any]) -> None:
    """Give a programme the numbers it asks for."""
    for name in program:
        if name in ("shadow_map", "other_depth"):
            program[name] = 0
        elif name == "noise_grid":
            program[name] = 1
        elif name == "backdrop":
            program[name] = 2
        elif name in uniforms:
            value = np.asarray(uniforms[name], "f4")
            # OpenGL stores matrices column by column.
            program[name].write(np.ascontiguousarray(value.T if value.shape == (4, 4) else value).tobytes())


@lru_cache(maxsize=1)
def _context() -> Any:
    """The process's one OpenGL context: with several, each would have to be made current before each call."""
    try:
        import moderngl
    except ImportError as error:
        raise InputError(
            'synthetic heads need moderngl; install it: pip install "fomm-lib[synthetic]"'
        ) from error
    try:
        windowless = {"backend": "egl"} if sys.platform.startswith("linux") else {}
        context = moderngl.create_context(standalone=True, **windowless)
    except Exception as error:  # moderngl raises a bare Exception whatever went wrong
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"cannot draw without a window, OpenGL through EGL is missing or broken ({reason}); "
            "on Debian, Ubuntu and Colab: apt-get install libegl1 libgl1-mesa-dri"
        ) from error
    context.gc_mode = "auto"  # what Python no longer refers to is freed on the graphics side too
    return context


# --- Scenes and cameras ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scene:
    """Camera, light and background of a clip, and how the picture is developed.

    Attributes:
        view: (4, 4) from the person's coordinates (dm, y up) to the camera's (x right, y up, z towards it).
        uniforms: what the shaders want to know.
        blur: radius in pixels of a picture of 128; grain: standard deviation of the noise, 0 to 1;
        contrast, saturation, vignette: 1, 1, 0 change nothing; tint: (3,) factors.
    """

    view: np.ndarray
    uniforms: dict[str, Any]
    blur: float = 0.0
    grain: float = 0.0
    contrast: float = 1.0
    saturation: float = 1.0
    vignette: float = 0.0
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    grain_seed: int = 0

    def develop(self, picture: np.ndarray, frame: int) -> np.ndarray:
        """What a camera does to a picture, (H, W, 3) float in [0, 1] to uint8; with grain of its own."""
        size = len(picture)
        grey = (picture @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]
        picture = (grey + (picture - grey) * self.saturation - 0.45) * self.contrast + 0.45
        picture = picture * np.array(self.tint)
        if self.vignette:
            axis = np.linspace(-1, 1, size)
            picture = picture * (1 - self.vignette * (axis[:, None] ** 2 + axis**2) / 2)[..., None]
        if self.blur:
            radius = self.blur * size / 128
            picture = gaussian_filter(picture, (radius, radius, 0))
        if self.grain:
            picture = picture + np.random.default_rng([self.grain_seed, frame]).normal(
                0, self.grain, picture.shape
            )
        return (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)


def sample_scene(rng: np.random.Generator, crown: float, chin: float) -> Scene:
    """Draw camera (field of view, distance, height, roll), lamps, background, and the camera's faults.

    Args:
        crown, chin: heights of the person's head, dm.
    """
    view, uniforms = _camera(rng, crown, chin)
    uniforms |= _light(rng, crown, chin)
    uniforms |= _background(rng, uniforms["exposure"])
    grey = rng.uniform() < 0.04
    return Scene(
        view,
        uniforms,
        blur=rng.uniform(0.3, 0.7) * (rng.uniform() < 0.35),
        grain=rng.uniform(0.004, 0.022) * (rng.uniform() < 0.6),
        contrast=rng.normal(1, 0.1),
        saturation=0.0 if grey else float(np.clip(rng.normal(0.95, 0.2), 0, 1.5)),
        vignette=rng.uniform(0, 0.3) * (rng.uniform() < 0.4),
        tint=tuple(rng.normal(1, 0.03, 3)),
        grain_seed=int(rng.integers(2**31)),
    )


def _direction(yaw: float, pitch: float) -> np.ndarray:
    return np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])


def camera_towards(
    target: np.ndarray,
    distance: float,
    field_of_view: float,
    yaw: float = 0.0,
    pitch: float = 0.0,
    roll: float = 0.0,
) -> tuple[np.ndarray, dict[str, Any]]:
    """A camera that looks at `target` from `distance` (dm; angles in radians): view matrix and uniforms."""
    eye = target + distance * _direction(yaw, pitch)
    view = _look_at(eye, target, roll)
    f, near, far = 1 / np.tan(field_of_view / 2), max(1.0, distance - 6), distance + 8
    # Rows of pictures run downwards: the y axis is turned here, and nowhere else.
    projection = np.diag([f, -f, -(far + near) / (far - near), 0])
    projection[2, 3], projection[3, 2] = -2 * far * near / (far - near), -1
    return view, {"view_projection": projection @ view, "eye_point": eye}


def _look_at(eye: np.ndarray, target: np.ndarray, roll: float) -> np.ndarray:
    backward = (eye - target) / np.linalg.norm(eye - target)
    right = np.cross([np.sin(roll), np.cos(roll), 0], backward)
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(backward, right), backward])
    view = np.eye(4)
    view[:3, :3], view[:3, 3] = rotation, -rotation @ eye
    return view


def _camera(rng, crown: float, chin: float) -> tuple[np.ndarray, dict[str, Any]]:
    height = crown - chin
    share = (
        rng.uniform(0.48, 0.72) if rng.uniform() < 0.9 else rng.uniform(0.72, 0.9)
    )  # of the picture's height
    field_of_view = np.deg2rad(rng.uniform(9, 34))
    distance = height / share / (2 * np.tan(field_of_view / 2))
    target = np.array([rng.normal(0, 0.1), chin + height * rng.uniform(0.36, 0.54), 0.6])
    yaw, pitch, roll = np.deg2rad([rng.normal(0, 7), rng.normal(2, 5), rng.normal(0, 2.5)])
    return camera_towards(target, distance, field_of_view, yaw, pitch, roll)


def _light(rng, crown: float, chin: float) -> dict[str, Any]:
    """Sky and ground, a key light that casts shadows, and up to two more from anywhere."""
    warmth = rng.normal(0, 0.13)
    white = np.array([1 + warmth, 1, 1 - warmth])
    stage = rng.uniform() < 0.25  # strongly coloured lamps
    key, fill = rng.uniform(0.5, 1.2), rng.uniform(0.12, 0.6)
    directions, colours = [], []
    for lamp in range(3):
        yaw, pitch = (
            (rng.normal(0, 42), rng.uniform(0, 60))
            if lamp == 0
            else (rng.uniform(-170, 170), rng.uniform(-10, 60))
        )
        strength = key if lamp == 0 else rng.uniform(0, 0.5) * (rng.uniform() < 0.6)
        directions.append(_direction(*np.deg2rad([yaw, pitch])))
        colours.append(np.clip(strength * white * (1 + rng.normal(0, 0.25 if stage else 0.05, 3)), 0, 3))
    middle = np.array([0, chin + 0.4 * (crown - chin), 0.4])
    # The lamp's own camera is parallel; it sees 2.6 dm around the head's middle, 6 dm before and behind it.
    parallel = np.diag([1 / 2.6, 1 / 2.6, -1 / 6, 1])
    parallel[2, 3] = -8 / 6
    return {
        "lamp_direction": np.array(directions),
        "lamp_colour": np.array(colours),
        "sky": np.clip(fill * white * (1 + rng.normal(0, 0.08, 3)), 0, 2),
        "ground": np.clip(fill * rng.uniform(0.4, 0.9) * white * (1 + rng.normal(0, 0.08, 3)), 0, 2),
        "shadow_strength": rng.uniform(0.3, 1),
        "exposure": rng.uniform(0.75, 1.2) / (0.55 * key + fill),
        "light_projection": parallel @ _look_at(middle + 8 * directions[0], middle, 0.0),
        "unlit": 0.0,
    }


def _background(rng, exposure: float) -> dict[str, Any]:
    colours = np.array([linear(any_colour(rng, 8, 250)) for _ in range(4)])
    if rng.uniform() < 0.6:  # most rooms have few colours
        colours = colours.mean(axis=0) + (colours - colours.mean(axis=0)) * rng.uniform(0.1, 0.6)
    kind = rng.choice(6, p=[0.22, 0.2, 0.2, 0.24, 0.07, 0.07])
    return {
        "wall": np.clip(colours, 0, 1) / exposure * rng.uniform(0.5, 1),
        "scene": (float(kind), rng.uniform(0.3, 1.1), rng.beta(1.2, 1.5), rng.normal(0, 0.4)),
    }


def backdrop(rng: np.random.Generator, picture: np.ndarray, side: int) -> np.ndarray:
    """What one sees of a picture behind a person: some square of it, often out of focus, dimmer or brighter.

    Args:
        picture: uint8 (H, W, 3).
        side: of the result, in pixels.
    Returns:
        uint8 (side, side, 3).
    """
    height, width = picture.shape[:2]
    cut = max(1, round(min(height, width) * rng.uniform(0.5, 1)))
    left, top = rng.integers(width - cut + 1), rng.integers(height - cut + 1)
    square = picture[top : top + cut, left : left + cut]
    if rng.uniform() < 0.5:
        square = square[:, ::-1]
    image = Image.fromarray(np.ascontiguousarray(square)).resize((side, side), Image.Resampling.LANCZOS)
    radius = rng.uniform(0, 0.04) * side * (rng.uniform() < 0.7)
    blurred = gaussian_filter(np.asarray(image, np.float32), (radius, radius, 0))
    return np.clip(blurred * rng.uniform(0.6, 1.15), 0, 255).astype(np.uint8)


def linear(colour: Any) -> np.ndarray:
    """A colour as screens show it (0 to 255) in linear light (0 to 1)."""
    return (np.clip(colour, 3, 250) / 255) ** 2.2


def any_colour(rng: np.random.Generator, low: float = 10, high: float = 240) -> np.ndarray:
    """A random colour: mostly muted, sometimes strong."""
    grey, strength, hue = rng.uniform(low, high), rng.beta(1, 2.5) * 115, rng.uniform(0, 2 * np.pi)
    return np.clip(grey + strength * np.cos(hue + np.array([0, 2.09, 4.19])), 2, 253)
