namespace BuildKit.Database;

/// <summary>
/// Space set aside beside a database for the day the disk is full: deleting rows needs room in the log, and
/// without it nothing that fills the disk could be let go of.
/// </summary>
internal sealed class DiskReserve
{
    private const int Size = 1 << 20;
    private readonly string _path;
    private bool _isThere;

    /// <summary>Takes up what an earlier process set aside; <see cref="Refill"/> makes it where it is missing.</summary>
    /// <param name="databasePath">The database it is for.</param>
    public DiskReserve(string databasePath)
    {
        _path = databasePath + ".reserve";
        _isThere = new FileInfo(_path) is { Exists: true, Length: Size };
    }

    /// <summary>Gives the space back to the disk; false when that was done before.</summary>
    public bool Spend()
    {
        if (!_isThere)
            return false;
        File.Delete(_path);
        _isThere = false;
        return true;
    }

    /// <summary>Sets the space aside again. A disk that is still full is asked again after the next write.</summary>
    public void Refill()
    {
        if (_isThere)
            return;
        try
        {
            var temporary = _path + ".new";
            File.WriteAllBytes(temporary, new byte[Size]);
            File.Move(temporary, _path, overwrite: true);
            _isThere = true;
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            File.Delete(_path + ".new");
        }
    }
}
