// Colour of the person: surface colour by part, then light, shadow and highlights.
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
uniform vec4 beard_shape;   // density on cheek and chin, of the moustache; height on the cheek, grain
uniform vec4 scalp_paint;   // coverage of the scalp, softness, grain, unused
uniform vec4 eye_detail;    // angles of iris and pupil, redness, whiteness
uniform vec4 cloth_detail;  // number and frequency of the pattern, opening of a jacket (0: none), tie (0/1)

float blob(vec3 away) { return exp(-dot(away, away)); }
float shadow(vec3 normal) {
    vec3 q = in_light.xyz * 0.5 + 0.5;
    if (any(lessThan(q, vec3(0.0))) || any(greaterThan(q, vec3(1.0)))) return 1.0;
    float bias = 0.002 + 0.008 * (1.0 - max(dot(normal, lamp_direction[0]), 0.0)), lit = 0.0;
    for (int i = -1; i <= 1; i++)
        for (int j = -1; j <= 1; j++)
            lit += step(q.z - bias, texture(shadow_map, q.xy + vec2(i, j) / SHADOW_SIZE).r);
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
// Wrinkles across the forehead, beside the eyes, from the nose to the mouth.
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
    if ((KIND == TEETH || KIND > TONGUE) && dot(normal, to_eye) < 0.0) normal = -normal;     // open surfaces
    vec3 albedo = vec3(0.5), bleed = vec3(0.0);
    float shine = 0.0, power = 20.0, wrap = 0.0, dark = 1.0;    // dark: share of light that arrives

    if (KIND == SKIN) {
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
    } else if (KIND == EYE) {         // a: direction from the centre of the eye
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
    } else if (KIND == TEETH) {
        float gap = smoothstep(0.0, 0.2, abs(fract(c.x * 13.0) - 0.5));
        albedo = mix(vec3(0.72, 0.68, 0.58), vec3(0.72, 0.6, 0.38), teeth_tone) * (0.75 + 0.25 * gap);
        albedo = mix(albedo, vec3(0.45, 0.16, 0.15), smoothstep(0.09, 0.12, abs(c.y - 6.66)));
        dark = 0.3 + 0.8 * smoothstep(1.15, 1.42, c.z);
        shine = 0.4; power = 50.0;
    } else if (KIND == TONGUE) {
        albedo = vec3(0.42, 0.12, 0.11);
        dark = 0.1 + 0.7 * smoothstep(1.0, 1.45, c.z);
        shine = 0.4; power = 30.0;
    } else if (KIND == LASH) {
        albedo = vec3(0.02, 0.015, 0.012);
    } else if (KIND == HAIR) {
        float angle = waved(a) * hair_strand.y;
        float strand = 0.6 * noise(vec3(angle, a.y * 3.0, seed + 4.0)).r;
        strand += 0.4 * noise(vec3(angle * 3.1, a.y * 6.0, seed)).g;
        albedo = mix(hair, hair_tip, clamp(a.y + 0.6 * (strand - 0.5), 0.0, 1.0)) * (0.35 + 1.3 * strand);
        albedo *= 0.55 + 0.45 * smoothstep(0.0, 0.16, hair_inside(c, a));
        normal = normalize(normal + normalize(cross(normal, vec3(0.0, 1.0, 0.1))) * (strand - 0.5) * 1.1);
        wrap = 0.3;
    } else if (KIND == CLOTHES) {
        albedo = cloth_pattern();
        dark = 0.6 + 0.4 * smoothstep(0.0, 0.12, cloth_inside(c));
        wrap = 0.1;
        vec3 folds = 0.6 * noise(c * 3.0 + seed).rgb + 0.4 * noise(c * 8.0 + seed).rgb - 0.5;
        normal = normalize(normal + 0.9 * folds);
    } else if (KIND == FRAME) {
        albedo = rim;
        shine = 1.0; power = 60.0;
    } else {                    // dark lenses
        albedo = vec3(0.012);
        shine = 2.5; power = 90.0;
    }

    float lit = shadow(normalize(n));
    if (KIND == TEETH) lit = 0.55 + 0.45 * lit;     // lips let light through: teeth are never black
    vec3 light = mix(ground, sky, 0.5 + 0.5 * normal.y), gloss = vec3(0.0);
    for (int i = 0; i < 3; i++) {
        vec3 l = lamp_direction[i], h = normalize(l + to_eye);
        vec3 strength = lamp_colour[i] * (i == 0 ? lit : 1.0);
        float cosine = dot(normal, l);
        // Subsurface scattering: skin lets light through, which leaves it red at the edge of shadows.
        vec3 soft = bleed * smoothstep(-0.35, 0.1, cosine) * smoothstep(0.45, 0.0, cosine);
        light += strength * (max((cosine + wrap) / (1.0 + wrap), 0.0) + soft);
        if (KIND == HAIR) {        // highlights of strands are bands across their length
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
    result *= (1.0 + 0.08 * result) / (1.0 + 0.4 * result);    // compress highlights, as video cameras do
    if (unlit > 0.5) result = albedo;
    colour = vec4(pow(max(result, 0.0), vec3(1.0 / 2.2)), 1.0);
}
