namespace BuildKit.Llb;

/// <summary>Platforms between their OCI form and the form operations carry.</summary>
public static class PlatformConversion
{
    /// <summary>The form operations carry; nothing is normalised.</summary>
    public static Protocol.Pb.Platform ToProto(this Platform platform)
    {
        var message = new Protocol.Pb.Platform
        {
            Architecture = platform.Architecture,
            OS = platform.Os,
            Variant = platform.Variant,
            OSVersion = platform.OsVersion,
        };
        message.OSFeatures.AddRange(platform.OsFeatures);
        return message;
    }

    /// <summary>The OCI form; nothing is normalised.</summary>
    public static Platform ToOci(this Protocol.Pb.Platform platform) =>
        new(platform.OS, platform.Architecture, platform.Variant, platform.OSVersion) { OsFeatures = [.. platform.OSFeatures] };
}
