// Colour of a photograph's layers: its own pixels; what it does not show of the mouth is painted.
out vec4 colour;
uniform sampler2D skin; uniform sampler2D lids; uniform sampler2D eyes;
uniform vec3 tooth;         // colour of teeth
uniform vec3 lash;          // colour of lashes
uniform float level;        // luminance of the skin, for what is painted
uniform float colourful;    // 0 for a grey photograph
vec3 flesh(vec3 shade) { return level * mix(vec3(dot(shade, vec3(0.299, 0.587, 0.114))), shade, colourful); }
vec4 look() {
    if (k == SKIN) {        // closed lids are filled from around the eye
        return vec4(mix(texture(skin, t).rgb, texture(lids, t).rgb, blink * smoothstep(0.12, 0.5, lid)), 1.0);
    }
    // The photograph has its own lashes, which go with the texture of open lids.
    if (k == LASH) return vec4(lash, 0.85 * smoothstep(0.2, 0.7, blink));
    if (k == EYE) return vec4(texture(eyes, t).rgb, 1.0);
    if (k == CARD) return texture(teeth, t);
    if (k == TEETH) {
        float gap = smoothstep(0.0, 0.2, abs(fract(c.x * 13.0) - 0.5));
        vec3 shade = tooth * (0.86 + 0.14 * gap);
        vec3 gum = flesh(vec3(0.75, 0.38, 0.36));
        shade = mix(shade, gum, smoothstep(0.09, 0.12, abs(c.y - 6.66)));
        return vec4(shade * (0.35 + 0.65 * smoothstep(1.15, 1.42, c.z)), 1.0);
    }
    // Darker towards the throat.
    if (k == TONGUE) return vec4(flesh(vec3(0.62, 0.30, 0.28)) * (0.25 + 0.75 * smoothstep(1.0, 1.45, c.z)), 1.0);
    if (k == CAVITY) return vec4(flesh(vec3(0.42, 0.17, 0.15)) * (0.12 + 0.88 * smoothstep(1.15, 1.52, c.z)), 1.0);
    return texture(outer, t);
}
void main() {
    colour = look();
    if (colour.a < 0.04) discard;
}
