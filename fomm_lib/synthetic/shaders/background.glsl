// The background: a gradient, blobs of light, clouds, rectangles, stripes or tiles, or an image.
in vec2 q;
out vec4 colour;
uniform sampler3D noise_grid;
uniform sampler2D backdrop;
uniform float seed;
uniform vec3 wall[4];
uniform vec4 scene;         // kind (0 to 6), scale, blur, angle
uniform float exposure; uniform float unlit;
vec4 noise(vec3 p) { return texture(noise_grid, p / 32.0); }
#ifdef GROUND
uniform mat4 to_world;      // from the image (OpenGL's coordinates) to the scene
uniform mat4 light_projection;
uniform sampler2D shadow_map;
uniform vec3 eye_point; uniform vec3 lamp_direction[3]; uniform vec3 lamp_colour[3]; uniform vec3 sky;
uniform float shadow_strength;
uniform vec3 floor_colour[3];
uniform float floor_grain;  // scale of what is random on the ground
uniform vec4 floor_detail;  // kind (0 plain, 1 boards, 2 grass, 3 road), size (dm), angle, distance of haze (dm)
// The ground, y = 0, that a pixel shows; w is how much of it is seen through haze, 0 above the horizon.
vec4 floor_point() {
    vec4 far = to_world * vec4(q, 1.0, 1.0);
    vec3 ray = normalize(far.xyz / far.w - eye_point);
    if (ray.y > -0.002) return vec4(0.0);
    float way = -eye_point.y / ray.y;
    return vec4(eye_point + way * ray, exp(-way / floor_detail.w));
}
vec3 floor_albedo(vec3 at) {
    float s = sin(floor_detail.z), k = cos(floor_detail.z), size = floor_detail.y;
    vec2 u = mat2(k, s, -s, k) * at.xz;
    float rough = noise(vec3(u * 0.3 * floor_grain, seed)).r, fine = noise(vec3(u * 2.0 * floor_grain, seed + 3.0)).g;
    vec3 bare = mix(floor_colour[0], floor_colour[1], smoothstep(0.35, 0.65, rough));
    if (floor_detail.x > 2.5) {             // a road along the second axis, grass beside it
        float x = abs(u.x), tar = 0.85 + 0.3 * fine;
        vec3 road = floor_colour[0] * tar;
        float line = smoothstep(0.25, 0.1, abs(x - 0.92 * size));
        float dash = smoothstep(0.7, 0.5, x) * step(0.5, fract(u.y / 60.0));
        road = mix(road, vec3(0.75), max(line, dash));
        vec3 verge = floor_colour[2] * (0.6 + 0.8 * fine) * (0.8 + 0.4 * rough);
        return mix(road, verge, smoothstep(-0.5, 0.5, x - size));
    }
    if (floor_detail.x > 1.5) return floor_colour[2] * (0.55 + 0.9 * fine) * (0.75 + 0.5 * rough);
    if (floor_detail.x > 0.5) {
        float board = noise(vec3(floor(u.x / size) * 7.3, 0.5, seed)).b;
        float seam = smoothstep(0.02, 0.06, abs(fract(u.x / size) - 0.5));
        return mix(floor_colour[0], floor_colour[1], board) * mix(0.5, 1.0, seam);
    }
    return bare * (0.9 + 0.2 * fine);
}
float floor_shadow(vec3 at) {
    vec3 l = (light_projection * vec4(at, 1.0)).xyz * 0.5 + 0.5;
    if (any(lessThan(l, vec3(0.0))) || any(greaterThan(l, vec3(1.0)))) return 1.0;
    float lit = 0.0;
    for (int i = -1; i <= 1; i++)
        for (int j = -1; j <= 1; j++)
            lit += step(l.z - 0.002, texture(shadow_map, l.xy + 1.5 * vec2(i, j) / SHADOW_SIZE).r);
    return mix(1.0, lit / 9.0, shadow_strength);
}
#endif
float box(vec2 d, float soft) { return smoothstep(soft, -soft, d.x) * smoothstep(soft, -soft, d.y); }
void main() {
    if (scene.x > 5.5) {                                // an image; already gamma-coded
        colour = vec4(texture(backdrop, 0.5 * q + 0.5).rgb, 1.0);
        return;
    }
    float s = sin(scene.w), k = cos(scene.w);
    vec2 u = mat2(k, s, -s, k) * q;
    float t = smoothstep(-1.2, 1.2, u.y + 0.4 * (noise(vec3(u * 2.0, seed)).r - 0.5));
    vec3 result = mix(wall[0], wall[1], t);
    if (scene.x > 0.5 && scene.x < 1.5) {              // blobs of light
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
    } else if (scene.x < 3.5 && scene.x > 2.5) {        // rectangles, as shelves and windows out of focus
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
#ifdef GROUND
    vec4 at = floor_point();
    if (at.w > 0.0) {
        vec3 lamps = lamp_colour[1] * max(lamp_direction[1].y, 0.0) + lamp_colour[2] * max(lamp_direction[2].y, 0.0);
        vec3 light = sky + lamps + lamp_colour[0] * max(lamp_direction[0].y, 0.0) * floor_shadow(at.xyz);
        vec3 haze = mix(wall[0], wall[1], 0.5);
        result = mix(haze, floor_albedo(at.xyz) * (unlit < 0.5 ? light : vec3(1.0)), at.w);
    }
#endif
    if (unlit < 0.5) result *= exposure;
    colour = vec4(pow(max(result, 0.0), vec3(1.0 / 2.2)), 1.0);
}
