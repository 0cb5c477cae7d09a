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
    if (unlit < 0.5) result *= exposure;
    colour = vec4(pow(max(result, 0.0), vec3(1.0 / 2.2)), 1.0);
}
